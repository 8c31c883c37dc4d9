"""The parts dashboards are made of: each says what to look at, in which unit, from when on it is bad, and which runbook helps."""

from collections.abc import Sequence

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    BigValueTextMode,
    GraphTresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    VariableHide,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

DATASOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
# What people ask for; probes and scrapes would hide it.
PEOPLE = 'view!~"health|ready|startup|status|ping|metrics"'
HEIGHT, WIDTH = 8, 24
Panel = timeseries.Panel | stat.Panel
# The text of a legend, and the expression.
Queries = dict[str, str]


def thresholds(warn: float, bad: float) -> dashboard.ThresholdsConfig:
    """Green, yellow and red; a `bad` below `warn` says that less is worse."""
    low, high = ("green", "red") if warn <= bad else ("red", "green")
    first, second = sorted((warn, bad))
    steps = [Threshold(None, low), Threshold(first, "yellow"), Threshold(second, high)]
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)


def described(text: str, runbooks: Sequence[str]) -> str:
    return " ".join([text, *(f"Runbook: ops/runbooks/{name}.md." for name in runbooks)])


def target(expression: str, legend: str, number: int, *, instant: bool = False) -> prometheus.Dataquery:
    query = prometheus.Dataquery().expr(expression).legend_format(legend).ref_id(chr(ord("A") + number))
    return query.datasource(DATASOURCE).instant() if instant else query.datasource(DATASOURCE).range()


def graph(
    title: str, text: str, unit: str, queries: Queries, *, width: int = 8, limits: tuple[float, float] | None = None,
    runbooks: Sequence[str] = (), stacked: bool = False,
    least: float | None = 0, most: float | None = None,
) -> timeseries.Panel:  # fmt: skip
    """How something went. `limits` draws lines where it gets bad, and worse."""
    panel = timeseries.Panel().title(title).description(described(text, runbooks)).unit(unit)
    panel.datasource(DATASOURCE).height(HEIGHT).span(width).fill_opacity(10 if stacked else 0)
    panel.legend(
        common.VizLegendOptions()
        .show_legend(True)
        .display_mode(LegendDisplayMode.TABLE)
        .placement(LegendPlacement.BOTTOM)
        .calcs(["lastNotNull", "max"])
    )
    if least is not None:
        panel.min(least)
    if most is not None:
        panel.max(most)
    if stacked:
        panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL))
    if limits:
        panel.thresholds(thresholds(*limits))
        panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(GraphTresholdsStyleMode.LINE))
    for number, (legend, expression) in enumerate(queries.items()):
        panel.with_target(target(expression, legend, number))
    return panel


def number(
    title: str, text: str, unit: str, expression: str, *, width: int = 4, limits: tuple[float, float] | None = None,
    runbooks: Sequence[str] = (), legend: str = "", decimals: int | None = None,
) -> stat.Panel:  # fmt: skip
    """How something is now. With a `legend` the names of the series are shown, too."""
    panel = stat.Panel().title(title).description(described(text, runbooks)).unit(unit)
    panel.datasource(DATASOURCE).height(HEIGHT // 2).span(width).graph_mode(BigValueGraphMode.NONE)
    panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    panel.text_mode(BigValueTextMode.VALUE_AND_NAME if legend else BigValueTextMode.VALUE)
    panel.color_mode(BigValueColorMode.VALUE if limits else BigValueColorMode.NONE)
    if limits:
        panel.thresholds(thresholds(*limits))
    if decimals is not None:
        panel.decimals(decimals)
    return panel.with_target(target(expression, legend, 0, instant=True))


def every(name: str, label: str, query: str) -> dashboard.QueryVariable:
    """A list to choose from above the panels: all of it, unless somebody does."""
    variable = dashboard.QueryVariable(name).label(label).query(query).datasource(DATASOURCE)
    variable.refresh(VariableRefresh.ON_TIME_RANGE_CHANGED).sort(VariableSort.ALPHABETICAL_ASC)
    return variable.multi(True).include_all(True).all_value(".*").current(VariableOption(True, "All", "$__all"))


def board(uid: str, title: str, text: str, *, since: str, rows: dict[str, list[Panel]]) -> dashboard.Dashboard:
    """A dashboard of rows of panels, with what one may choose above them."""
    made = dashboard.Dashboard(title).uid(uid).description(text).tags(["quokkaq"]).readonly()
    made.time(since, "now").refresh("30s").timezone("browser").tooltip(DashboardCursorSync.CROSSHAIR)
    made.with_variable(
        dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus").hide(VariableHide.DONT_HIDE)
    )
    made.link(
        dashboard.DashboardLink("QuokkaQ").type("dashboards").tags(["quokkaq"]).as_dropdown(True).keep_time(True)  # type: ignore[arg-type]  # an enumeration of words
    )
    counted = 0
    for name, panels in rows.items():
        counted += 1
        made.with_row(dashboard.Row(name).id(counted))
        for panel in panels:
            counted += 1
            made.with_panel(panel.id(counted))
    return made
