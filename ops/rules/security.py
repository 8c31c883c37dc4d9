"""Rules of our own about security, for every file of the product: `python -m ops.rules.security`.

A line that breaks a rule for a reason says so: `# rule: NAME (the reason)`, at its end or alone above it; in a template
`{# rule: NAME (the reason) #}`. A remark that excuses nothing is reported as well. Each rule is proven by examples in
tests/quokkaq/test_rules.py; why these aren't semgrep's: docs/adr/0016-rules-of-our-own.md.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
APPS = ("accounts/", "forum/", "ai_answers/", "quokkaq/")
EXCUSE = re.compile(r"\brule: ([a-z-]+) \(\S.*\)")

Found = Iterator[int]
Check = Callable[[ast.Module], Found]


@dataclass(frozen=True)
class Finding:
    """A line that breaks a rule."""

    path: str
    line: int
    rule: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule}: {self.sentence}"


def name_of(node: ast.AST) -> str:
    """Return the last name of what is called or looked up: `mark_safe` of `safestring.mark_safe`."""
    if isinstance(node, ast.Call):
        return name_of(node.func)
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def dotted(node: ast.AST) -> str:
    """Return `a.b.c` of a look-up of names, else what is known of it."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


@lru_cache(maxsize=1)
def walk(tree: ast.Module) -> list[ast.AST]:
    """Return all nodes of a file; the rules look at one file after the other."""
    return list(ast.walk(tree))


def calls(tree: ast.Module) -> Iterator[ast.Call]:
    return (node for node in walk(tree) if isinstance(node, ast.Call))


def constants(tree: ast.Module) -> set[str]:
    """Return the names of the module that are given a plain text, once."""
    named: dict[str, list[bool]] = {}
    for node in walk(tree):
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        for target in targets:
            if isinstance(target, ast.Name):
                named.setdefault(target.id, []).append(is_text(getattr(node, "value", None), set()))
    return {name for name, plain in named.items() if plain == [True]}


def is_text(node: ast.AST | None, known: set[str]) -> bool:
    """Tell whether an expression is a text written down here, whatever goes on at run time."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return is_text(node.left, known) and is_text(node.right, known)
    if isinstance(node, ast.Name):
        return node.id in known
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


# Python


SQL_METHODS = {"execute", "executemany", "raw", "extra", "callproc"}


def raw_sql(tree: ast.Module) -> Found:
    known = constants(tree)
    for call in calls(tree):
        is_sql = name_of(call) == "RawSQL" or (isinstance(call.func, ast.Attribute) and call.func.attr in SQL_METHODS)
        text = (
            call.args[0] if call.args else next((k.value for k in call.keywords if k.arg in ("sql", "raw_query")), None)
        )
        if is_sql and (name_of(call) == "extra" or (text is not None and not is_text(text, known))):
            yield call.lineno


def mark_safe(tree: ast.Module) -> Found:
    known = constants(tree)
    for call in calls(tree):
        name = name_of(call)
        if name in ("mark_safe", "SafeString", "SafeText") and not (call.args and is_text(call.args[0], known)):
            yield call.lineno
        if name in ("format_html", "format_html_join") and not all(
            is_text(a, known) for a in call.args[: 1 + name.endswith("join")]
        ):
            yield call.lineno
    for node in walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == "__html__":
            yield node.lineno
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and any(
            name_of(d) == "html_safe" for d in node.decorator_list
        ):
            yield node.lineno


# What a manager has by itself. `visible_to`, `of_course` and their like are what a view begins with.
UNFILTERED = {
    "all", "filter", "get", "exclude", "values", "values_list", "first", "last", "count", "exists", "in_bulk", "aggregate",
    "annotate", "order_by", "select_related", "prefetch_related", "iterator", "latest", "earliest", "only", "defer",
    "distinct", "dates", "datetimes", "using", "select_for_update", "create", "update", "delete", "get_or_create",
    "update_or_create", "bulk_create", "bulk_update", "raw", "extra", "union", "aget", "afirst", "acount",
}  # fmt: skip
MANAGERS = {"objects", "_default_manager", "_base_manager"}


def unfiltered_manager(tree: ast.Module) -> Found:
    for call in calls(tree):
        method = call.func
        if not isinstance(method, ast.Attribute):
            if (
                name_of(call) in ("get_object_or_404", "get_list_or_404")
                and call.args
                and isinstance(call.args[0], ast.Name)
            ):
                yield call.lineno
            continue
        on_manager = isinstance(method.value, ast.Attribute) and method.value.attr in MANAGERS
        if on_manager and method.attr in UNFILTERED:
            yield call.lineno
    for node in walk(tree):
        # Handed on as it is: `rows = Thread.objects`.
        value = getattr(node, "value", None) if isinstance(node, ast.Assign | ast.Return | ast.AnnAssign) else None
        if isinstance(value, ast.Attribute) and value.attr in MANAGERS:
            yield value.lineno


def csrf_exempt(tree: ast.Module) -> Found:
    for node in walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield from (d.lineno for d in node.decorator_list if _names(d, "csrf_exempt"))
        elif (isinstance(node, ast.Call) and name_of(node) == "csrf_exempt") or (
            isinstance(node, ast.Assign) and any(name_of(target) == "csrf_exempt" for target in node.targets)
        ):
            yield node.lineno


def _names(node: ast.AST, name: str) -> bool:
    return any(name_of(part) == name for part in ast.walk(node))


LIBRARIES = (
    "requests",
    "httpx",
    "httpx2",
    "aiohttp",
    "urllib3",
    "http.client",
    "urllib.request",
    "httpcore",
    "httpcore2",
)
OPENING = {
    "get", "post", "put", "patch", "delete", "head", "options", "request", "stream", "Session", "Client", "AsyncClient",
    "HTTPTransport", "AsyncHTTPTransport", "ClientSession", "PoolManager", "HTTPConnection", "HTTPSConnection", "urlopen",
    "urlretrieve", "build_opener", "ConnectionPool", "session",
}  # fmt: skip


def outgoing_http(tree: ast.Module) -> Found:
    imported: dict[str, str] = {}
    for node in walk(tree):
        if isinstance(node, ast.Import):
            imported |= {(alias.asname or alias.name): alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            imported |= {(alias.asname or alias.name): f"{node.module}.{alias.name}" for alias in node.names}
    for call in calls(tree):
        written = dotted(call.func)
        first = max(
            (name for name in imported if written == name or written.startswith(f"{name}.")), key=len, default=""
        )
        if not first:
            continue
        full = imported[first] + written[len(first) :]
        library, _, opened = full.rpartition(".")
        if library in LIBRARIES and opened in OPENING:
            yield call.lineno


def prints(tree: ast.Module) -> Found:
    yield from (
        call.lineno
        for call in calls(tree)
        if isinstance(call.func, ast.Name) and call.func.id in ("print", "breakpoint")
    )


RUNS = {"eval", "exec", "__import__"}
RUNS_DOTTED = {
    "os.system", "os.popen", "pickle.load", "pickle.loads", "marshal.load", "marshal.loads", "shelve.open", "dill.loads",
    "subprocess.getoutput", "subprocess.getstatusoutput", "builtins.eval", "builtins.exec", "joblib.load",
}  # fmt: skip


def runs_text(tree: ast.Module) -> Found:
    for call in calls(tree):
        if isinstance(call.func, ast.Name) and call.func.id in RUNS:
            yield call.lineno
        if dotted(call.func) in RUNS_DOTTED:
            yield call.lineno
        if any(
            k.arg == "shell" and not (isinstance(k.value, ast.Constant) and k.value.value is False)
            for k in call.keywords
        ):
            yield call.lineno
        if dotted(call.func) in ("yaml.load", "yaml.load_all", "yaml.unsafe_load"):
            loader = next((name_of(k.value) for k in call.keywords if k.arg == "Loader"), "")
            if loader not in ("SafeLoader", "CSafeLoader"):
                yield call.lineno


def unverified_tls(tree: ast.Module) -> Found:
    for call in calls(tree):
        if any(
            k.arg in ("verify", "check_hostname", "verify_ssl")
            and isinstance(k.value, ast.Constant)
            and k.value.value is False
            for k in call.keywords
        ) or name_of(call) in ("_create_unverified_context", "disable_warnings"):
            yield call.lineno
    for node in walk(tree):
        if isinstance(node, ast.Assign):
            off = isinstance(node.value, ast.Constant) and node.value.value is False
            if any(name_of(t) == "check_hostname" for t in node.targets) and off:
                yield node.lineno
        if isinstance(node, ast.Attribute) and node.attr == "CERT_NONE":
            yield node.lineno


def open_redirect(tree: ast.Module) -> Found:
    for call in calls(tree):
        if name_of(call) not in (
            "redirect",
            "HttpResponseRedirect",
            "HttpResponsePermanentRedirect",
            "HttpResponseClientRedirect",
        ):
            continue
        for argument in call.args[:1]:
            checked = isinstance(argument, ast.Call) and name_of(argument) == "safe_target"
            checked = checked or (isinstance(argument, ast.BoolOp) and name_of(argument.values[0]) == "safe_target")
            asks = any(
                isinstance(p, ast.Attribute) and p.attr in ("GET", "POST", "META", "headers")
                for p in ast.walk(argument)
            )
            if asks and not checked:
                yield call.lineno


# Templates


def _lines(pattern: str, text: str) -> Found:
    yield from (
        text.count("\n", 0, match.start()) + 1 for match in re.finditer(pattern, text, re.IGNORECASE | re.DOTALL)
    )


def template_safe(path: str, text: str) -> Found:
    yield from _lines(r"\{[{%][^}]*\|\s*(safe|safeseq)\b[^}]*[%}]\}", text)
    if path.endswith(".html"):
        yield from _lines(r"\{%-?\s*(autoescape\s+off|filter\s+safe)\b", text)


def template_inline(path: str, text: str) -> Found:
    if not path.endswith(".html") or "/emails/" in path:
        return
    # What templates say to Django isn't HTML.
    text = re.sub(r"\{[{%#].*?[#%}]\}", lambda tag: re.sub(r"[^\n]", " ", tag.group()), text, flags=re.DOTALL)
    yield from _lines(r"<script(?![^>]*\bsrc=)[^>]*>", text)
    yield from _lines(r"<style\b", text)
    yield from _lines(r"<[a-z][^>]*\s(on[a-z]+|style|hx-on[:\w-]*)\s*=", text)
    yield from _lines(r"(?:href|src|action|formaction)\s*=\s*[\"']?\s*javascript:", text)


def template_csrf(path: str, text: str) -> Found:
    for match in re.finditer(r"<form\b[^>]*\bmethod=[\"']?post[\"']?.*?</form>", text, re.IGNORECASE | re.DOTALL):
        if "csrf_token" not in match.group():
            yield text.count("\n", 0, match.start()) + 1


def in_views(path: str) -> bool:
    return "/views/" in path or path.endswith("/views.py")


def anywhere(path: str) -> bool:
    return True


@dataclass(frozen=True)
class Rule:
    """What is looked for, in which files, and what to do instead."""

    sentence: str
    check: Check
    where: Callable[[str], bool] = anywhere


RULES = {
    "raw-sql": Rule("SQL is put together here. Write it as one text, with parameters.", raw_sql),
    "mark-safe": Rule("This text is taken for safe HTML. Use a template, or format_html with a constant.", mark_safe),
    "unfiltered-manager": Rule("A view begins with visible_to() or a door of access.py.", unfiltered_manager, in_views),
    "csrf-exempt": Rule("This form needs no token. Say what proves who sent it.", csrf_exempt),
    "outgoing-http": Rule(
        "Go out through quokkaq.lib.egress.", outgoing_http, lambda path: path != "quokkaq/lib/egress.py"
    ),
    "print": Rule("Use a logger, or self.stdout in a command.", prints),
    "runs-text": Rule("This runs, or unpacks, whatever it is given.", runs_text),
    "unverified-tls": Rule("Certificates are checked, always.", unverified_tls),
    "open-redirect": Rule("Ask quokkaq.lib.http.safe_target where to go.", open_redirect),
}
PAGES: dict[str, tuple[str, Callable[[str, str], Found]]] = {
    "template-safe": ("What pages show is escaped. Make a SafeString where it is proven safe.", template_safe),
    "template-inline": ("Our policy lets no inline script or style run. Put it into a file.", template_inline),
    "template-csrf": ("A posted form needs {% csrf_token %}.", template_csrf),
}


def look_into(path: str, text: str) -> list[Finding]:
    """Return what breaks a rule in one file, and remarks that excuse nothing."""
    found: list[Finding] = []
    if path.endswith(".py"):
        tree = ast.parse(text)
        for name, rule in RULES.items():
            if rule.where(path):
                found += [Finding(path, line, name, rule.sentence) for line in sorted(set(rule.check(tree)))]
    else:
        for name, (sentence, check) in PAGES.items():
            found += [Finding(path, line, name, sentence) for line in sorted(set(check(path, text)))]
    lines = text.split("\n")
    excuses = {(number, match.group(1)) for number, line in enumerate(lines, 1) for match in EXCUSE.finditer(line)}
    used: set[tuple[int, str]] = set()
    left = []
    for finding in found:
        above = {(finding.line, finding.rule)}
        if finding.line > 1 and lines[finding.line - 2].lstrip().startswith(("#", "{#")):
            above.add((finding.line - 1, finding.rule))
        matched = above & excuses
        used |= matched
        if not matched:
            left.append(finding)
    idle = [Finding(path, line, name, "This remark excuses nothing.") for line, name in sorted(excuses - used)]
    return left + idle


def files() -> list[str]:
    listed = subprocess.run(  # nosec B607
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\n")
    python = [path for path in listed if path.endswith(".py") and path.startswith(APPS) and "/migrations/" not in path]
    return [path for path in [*python, *(p for p in listed if p.startswith("templates/"))] if (ROOT / path).is_file()]


def main() -> int:
    found = [finding for path in files() for finding in look_into(path, (ROOT / path).read_text(encoding="utf-8"))]
    for finding in found:
        print(finding)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
