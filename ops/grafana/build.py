"""Write the dashboards: `python -m ops.grafana.build` makes `ops/grafana/dashboards/*.json` anew from the modules beside this one."""

from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from ops.grafana import business, objectives, operations

FOLDER = Path(__file__).resolve().parent / "dashboards"
DASHBOARDS = {"operations": operations.build, "business": business.build, "slo": objectives.build}


def rendered(name: str) -> str:
    """Return a dashboard as Grafana reads it."""
    text = JSONEncoder(indent=2, sort_keys=True, ensure_ascii=False).encode(DASHBOARDS[name]().build())
    # The library knows no text for the marks of an annotation.
    return text.replace('"name": "Deployments"', '"name": "Deployments",\n        "titleFormat": "{{version}}"') + "\n"


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name in DASHBOARDS:
        (FOLDER / f"{name}.json").write_text(rendered(name))


if __name__ == "__main__":
    main()
