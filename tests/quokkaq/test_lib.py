"""The leaf modules."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import redis

from quokkaq.lib.cache import ForgivingRedisCache
from quokkaq.lib.markdown import plain_text, render
from quokkaq.lib.postgres import EmbeddedPostgres, EmbeddedPostgresError, _reachable_by_others
from quokkaq.lib.uuid7 import uuid7

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "markup"


# Markdown


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("**b** *i* ~~s~~ `c`", "<strong>b</strong> <em>i</em> <s>s</s> <code>c</code>"),
        ("# Big", "<h3>Big</h3>"),
        ("# A\n\n## B\n\n#### C\n\n# D", "<h3>A</h3>\n<h4>B</h4>\n<h5>C</h5>\n<h3>D</h3>"),
        ("###### Small", "<h3>Small</h3>"),
        ("$x^2$", "<msup>"),
        ("$$\\sum_{i=1}^n i$$", '<math display="block">'),
        ("it costs $5 and $6", "it costs $5 and $6"),
        ("$\\undefined$", '<code class="math-error">\\undefined</code>'),
        ("```python\ndef f(): pass\n```", '<span class="k">def</span>'),
        ("```nonsense\n<b>\n```", "&lt;b&gt;"),
        ("    indented", "<pre><code>indented"),
        ("![alt](https://x.example/i.png)", '<a href="https://x.example/i.png"'),
        ("![](https://x.example/i.png)", ">image</a>"),
        ("|a|b|\n|:-|-:|\n|1|2|", '<td class="align-right">2</td>'),
        ("|a|\n|-|\n|1|", "<td>1</td>"),
        ("$$\\begin{cases} a & b \\\\ c & d\\end{cases}$$", '<mtd class="align-left">'),
        ("$$\\color{red} x$$", "<mi>x</mi>"),
        ("[ok](https://x.example)", 'rel="nofollow ugc noopener noreferrer"'),
    ],
)
def test_markdown_becomes(source: str, expected: str) -> None:
    assert expected in render(source)


@pytest.mark.parametrize(
    "attack",
    [
        "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "[x](javascript:alert(1))", "[x](data:text/html,x)",
        "<a href='javascript:x'>y</a>", "![x](javascript:alert(1))", "$\\href{javascript:alert(1)}{x}$", "<svg onload=alert(1)>",
        "```<img src=x onerror=alert(1)>\nx\n```", "<math><mtext><style><img src=x onerror=alert(1)>", "[x]( vbscript:x )",
    ],
)  # fmt: skip
def test_markdown_runs_nothing(attack: str) -> None:
    html = re.sub(r"&lt;.*?&gt;", "", render(attack))  # what is shown as text does nothing
    assert not re.search(
        r"<(script|img|svg|style|iframe|object)|\son\w+=|href=\"(javascript|vbscript|data)", html, re.I
    )
    assert "style=" not in html


@pytest.mark.skipif(not DATA.exists(), reason="the evaluation data isn't beside this checkout")
@pytest.mark.parametrize("file", ["html_payloads.json", "naughty_strings.json"])
def test_known_payloads_are_harmless(file: str) -> None:
    def texts(value: Any) -> list[str]:
        if isinstance(value, str):
            return [value]
        return [text for inner in (value.values() if isinstance(value, dict) else value) for text in texts(inner)]

    for payload in texts(json.loads((DATA / file).read_text(encoding="utf-8"))):
        html = render(payload)
        outside_code = re.sub(r"&lt;.*?&gt;", "", html)
        assert not re.search(r"<(script|img|svg|style|iframe|object|form|input)\b", html, re.I), payload
        assert not re.search(r"<[^>]*\s(on\w+|style)\s*=", outside_code, re.I), payload


# Small things


def test_keys_sort_by_time() -> None:
    keys = [uuid7() for _ in range(100)]
    assert keys == sorted(keys)
    assert {key.version for key in keys} == {7}


def test_a_cache_in_trouble_is_a_miss(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = ForgivingRedisCache("redis://127.0.0.1:1/0", {"OPTIONS": {"socket_connect_timeout": 0.2}})
    assert cache.get("k", "default") == "default"
    cache.set("k", 1)
    assert cache.add("k", 1) is False
    assert cache.touch("k") is False
    assert cache.delete("k") is False
    assert cache.get_many(["k"]) == {}
    assert cache.set_many({"k": 1}) == ["k"]
    assert cache.has_key("k") is False
    assert cache.incr("k") == 0
    assert issubclass(redis.ConnectionError, redis.RedisError)


# The embedded database


def test_many_processes_share_one_server_and_the_last_one_stops_it(tmp_path: Path) -> None:
    import multiprocessing

    home = tmp_path / "pg"
    tmp_path.chmod(0o755)
    context = multiprocessing.get_context("spawn")
    with context.Pool(3) as pool:
        assert pool.map(_use_server, [str(home)] * 3) == ["1"] * 3
        pool.close()
        pool.join()
    server = EmbeddedPostgres(home, durable=False)
    assert not server._is_up()


def _use_server(home: str) -> str:
    server = EmbeddedPostgres(Path(home), durable=False)
    server.ensure_running()
    server.ensure_running()
    return server._psql("SELECT 1")


def test_a_long_path_gets_a_short_socket_and_a_closed_one_another_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("x" * 90)
    monkeypatch.setattr("quokkaq.lib.postgres._reachable_by_others", lambda path: True)
    assert len(str(EmbeddedPostgres(deep).socket_directory)) < 60
    monkeypatch.setattr("quokkaq.lib.postgres._reachable_by_others", lambda path: False)
    closed = EmbeddedPostgres(tmp_path / "pg")
    if closed.owner is not None:
        assert str(closed.home).startswith("/var/tmp/")
        assert (closed.bin / "postgres").exists()


def test_reachability_is_about_every_folder_on_the_way(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    for folder in (tmp_path, tmp_path / "a", inner):
        folder.chmod(0o755)
    (tmp_path / "a").chmod(0o700)
    assert not _reachable_by_others(inner)


def test_trouble_is_said_with_the_program_that_had_it(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "pg")
    with pytest.raises(EmbeddedPostgresError, match="failed at pg_ctl"):
        server._run("pg_ctl", "start", "-D", "/nowhere")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("a < b and *c* > d &lt; e", "a < b and c > d < e"),
        ('[x](http://a.example/?q=>) ![y](z.png "t > u")', "x y"),
        ("`<div title='>'>`\n\n```html\n<a href=\">\">\n```", "<div title='>'> <a href=\">\">"),
        ("| a | b |\n|---|---|\n| 1<2 | 3>2 |", "a b 1<2 3>2"),
        ("<script>1<2</script> <!-- c > --> <3", "<script>1<2</script> <!-- c > --> <3"),
        ("two\n\nlines  here", "two lines here"),
    ],
)
def test_the_words_of_rendered_text(source: str, words: str) -> None:
    assert plain_text(render(source)) == words
