"""Each rule of ours finds what it is for, and leaves alone what is right."""

import pytest

from ops.rules.security import PAGES, ROOT, RULES, files, look_into

PYTHON_BAD = {
    "raw-sql": [
        'cursor.execute(f"SELECT {name}")', 'cursor.execute("SELECT %s" % name)', 'cursor.execute("SELECT " + name)',
        'cursor.execute("SELECT {}".format(name))', "cursor.execute(sql)", 'Thread.objects.raw(f"SELECT {x}")',
        'rows.extra(where=["1=1"])', 'RawSQL(f"{column}", [])', 'RawSQL(sql=f"{column}", params=[])',
        'SQL = "SELECT 1"\nSQL = SQL + name\ncursor.execute(SQL)', 'cursor.executemany(f"{x}", rows)',
    ],
    "mark-safe": [
        "mark_safe(html)", 'mark_safe(f"<b>{name}</b>")', "safestring.mark_safe(x)", "SafeString(body)", "format_html(text)",
        'format_html(f"<b>{x}</b>")', 'format_html_join("", row, rows)', "class A:\n    def __html__(self): ...",
        "@html_safe\nclass A: ...",
    ],
    "unfiltered-manager": [
        "Thread.objects.all()", "Thread.objects.filter(pk=1)", "models.Thread.objects.get(pk=1)",
        "Thread._base_manager.count()", "get_object_or_404(Thread, pk=1)", "rows = Thread.objects",
        "list(Thread.objects.order_by('pk'))", "Thread.objects.create(title='x')", "def f():\n    return Thread.objects",
    ],
    "csrf-exempt": [
        "@csrf_exempt\ndef view(request): ...", "@method_decorator(csrf_exempt, name='dispatch')\nclass V: ...",
        "view = csrf_exempt(view)", "view.csrf_exempt = True", "@csrf.csrf_exempt\ndef view(request): ...",
    ],
    "outgoing-http": [
        "import requests\nrequests.get(url)", "import requests as r\nr.Session()", "from requests import post\npost(url)",
        "import httpx2\nhttpx2.Client()", "from httpx import AsyncClient\nAsyncClient()",
        "from urllib.request import urlopen\nurlopen(url)", "import urllib.request\nurllib.request.urlopen(url)",
        "import http.client\nhttp.client.HTTPSConnection(host)", "from urllib3 import PoolManager as P\nP()",
        "from http import client\nclient.HTTPConnection(host)",
    ],
    "print": ["print('here')", "breakpoint()"],
    "runs-text": [
        "eval(text)", "exec(text)", "pickle.loads(body)", "os.system(command)", "subprocess.run(command, shell=True)",
        "yaml.load(text)", "yaml.load(text, Loader=yaml.Loader)", "subprocess.run(command, shell=flag)", "__import__(name)",
    ],
    "unverified-tls": [
        "session.get(url, verify=False)", "ssl._create_unverified_context()", "context.check_hostname = False",
        "context.verify_mode = ssl.CERT_NONE", "urllib3.disable_warnings()",
    ],
    "open-redirect": [
        'redirect(request.GET["next"])', 'HttpResponseRedirect(request.POST.get("next"))',
        'redirect(request.GET.get("next") or "/")', 'HttpResponseRedirect(request.META["HTTP_REFERER"])',
        'redirect(request.headers["Referer"])',
    ],
}  # fmt: skip
PYTHON_GOOD = {
    "raw-sql": [
        'cursor.execute("SELECT %s", [name])', 'SQL = "SELECT 1"\ncursor.execute(SQL)', 'RawSQL("ts_rank(v, %s)", [q])',
        'cursor.execute("SELECT " "1")', 'cursor.execute("SELECT " + "1")', "pool.submit(f'{x}')",
    ],
    "mark-safe": ['mark_safe("<b>x</b>")', 'format_html("<b>{}</b>", name)', 'format_html_join("", "<li>{}</li>", rows)', "escape(x)"],
    "unfiltered-manager": [
        "Thread.objects.visible_to(member).filter(pk=1)", "Enrollment.objects.of_course(member)", "get_thread(member, 1)",
        "rows.filter(pk=1)", "User.objects.none()",
    ],
    "csrf-exempt": ["@csrf_protect\ndef view(request): ...", "@require_POST\ndef view(request): ..."],
    "outgoing-http": [
        "from quokkaq.lib import egress\negress.client()", "import httpx2\ndef f(c: httpx2.Client) -> None: ...",
        "request.session.get('x')", "import requests\ntry: ...\nexcept requests.ConnectionError: ...", "client.get(url)",
        "requests.get(1)",
    ],
    "print": ["log.info('here')", "self.stdout.write('here')", "table.print(1)"],
    "runs-text": [
        "json.loads(body)", "subprocess.run([program])", "subprocess.run([p], shell=False)", "yaml.safe_load(t)",
        "yaml.load(t, Loader=yaml.SafeLoader)", "re.compile(x)", "model.eval()",
    ],
    "unverified-tls": ["session.get(url, verify=context)", "ssl.create_default_context()", "context.check_hostname = True"],
    "open-redirect": [
        'redirect(safe_target(request, request.GET.get("next")) or "/")', 'redirect("accounts:courses")', "redirect(thread)",
        'HttpResponseRedirect(safe_target(request, request.POST["next"]))',
    ],
}  # fmt: skip
PAGES_BAD = {
    "template-safe": ["{{ body|safe }}", "{{ body | safe }}", "{{ rows|safeseq|join:',' }}", "{% autoescape off %}{{ x }}{% endautoescape %}", "{% filter safe %}"],
    "template-inline": [
        "<script>run()</script>", "<script type='module'>x</script>", "<style>a{}</style>", '<p style="color:red">',
        "<a onclick='x()'>", '<button class="a" onfocus="x">', '<a href="javascript:x">', "<div hx-on:click='x'>",
        '<a {% if x %}onclick="y"{% endif %} onload=z>',
    ],
    "template-csrf": ['<form method="post"><input></form>', "<form action='/x' method=POST>\n<button>x</button></form>"],
}  # fmt: skip
PAGES_GOOD = {
    "template-safe": ["{{ body }}", "{% autoescape on %}", "<p>safe</p>", "{{ x|safely }}", "{{ unsafe }}"],
    "template-inline": [
        "<script src=\"{% static 'js/app.js' %}\" defer></script>", '<a href="?a" {% if one == course %}aria-current="true"{% endif %}>',
        '<p class="style on">', "{# <script> #}", "<p>a style = b</p>", '<input name="on">',
    ],
    "template-csrf": ['<form method="post">{% csrf_token %}</form>', '<form method="get"></form>', "<form></form>"],
}  # fmt: skip


def rules_broken(text: str, path: str) -> set[str]:
    return {finding.rule for finding in look_into(path, text)}


def examples(table: dict[str, list[str]]) -> list[tuple[str, str]]:
    return [(rule, text) for rule, texts in table.items() for text in texts]


@pytest.mark.parametrize(("rule", "text"), examples(PYTHON_BAD))
def test_what_is_wrong_is_found(rule: str, text: str) -> None:
    assert rule in rules_broken(text, "forum/views/x.py")


@pytest.mark.parametrize(("rule", "text"), examples(PYTHON_GOOD))
def test_what_is_right_is_left_alone(rule: str, text: str) -> None:
    assert rule not in rules_broken(text, "forum/views/x.py")


@pytest.mark.parametrize(("rule", "text"), examples(PAGES_BAD))
def test_what_is_wrong_in_a_page_is_found(rule: str, text: str) -> None:
    assert rule in rules_broken(text, "templates/forum/x.html")


@pytest.mark.parametrize(("rule", "text"), examples(PAGES_GOOD))
def test_what_is_right_in_a_page_is_left_alone(rule: str, text: str) -> None:
    assert rule not in rules_broken(text, "templates/forum/x.html")


def test_every_rule_has_both_examples() -> None:
    assert set(RULES) == set(PYTHON_BAD) == set(PYTHON_GOOD)
    assert set(PAGES) == set(PAGES_BAD) == set(PAGES_GOOD)


def test_a_reason_excuses_its_line_and_no_other() -> None:
    assert rules_broken("print(1)  # rule: print (a script)", "forum/x.py") == set()
    assert rules_broken("# rule: print (a script)\nprint(1)", "forum/x.py") == set()
    assert rules_broken("print(1)  # rule: print", "forum/x.py") == {"print"}  # no reason
    assert rules_broken("print(1)  # rule: print ()", "forum/x.py") == {"print"}
    assert rules_broken("print(1)  # rule: mark-safe (x)", "forum/x.py") == {"print", "mark-safe"}
    assert rules_broken("x = 1  # rule: print (a script)", "forum/x.py") == {"print"}  # excuses nothing
    assert rules_broken("print(1)  # rule: print (a)\nprint(2)", "forum/x.py") == {"print"}
    assert rules_broken("{# rule: template-safe (ours) #}\n{{ x|safe }}", "templates/x.html") == set()


def test_managers_are_a_matter_of_views_and_the_way_out_of_egress() -> None:
    assert rules_broken("Thread.objects.all()", "forum/querysets.py") == set()
    assert rules_broken("import httpx2\nhttpx2.Client()", "quokkaq/lib/egress.py") == set()


def test_plain_text_mails_may_go_unescaped() -> None:
    assert rules_broken("{% autoescape off %}{{ x }}{% endautoescape %}", "templates/emails/x.txt") == set()


def test_the_product_breaks_no_rule() -> None:
    looked = files()
    assert "forum/views/threads.py" in looked
    assert "templates/base.html" in looked
    assert [finding for path in looked for finding in look_into(path, (ROOT / path).read_text(encoding="utf-8"))] == []
