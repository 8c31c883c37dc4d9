"""Are the objectives met: 99.9 % of requests answered, 95 % of them within 500 ms, over 30 days?"""

from grafana_foundation_sdk.builders import dashboard

from ops.grafana.panels import PEOPLE, board, graph, number

LATENCY = "django_http_requests_latency_seconds_by_view_method_bucket"
MAY_FAIL, MAY_BE_SLOW = 0.001, 0.05
# What ops/prometheus/rules/slo.yml records, by how long it looks back.
WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
FAST, SLOW = 14.4, 1


def over(window: str, what: str) -> str:
    """The share of requests in a long time: each counts the same, whenever it was made."""
    return (
        f"sum_over_time(quokkaq:http_{what}:rate5m[{window}]) / sum_over_time(quokkaq:http_requests:rate5m[{window}])"
    )


def budget_left(what: str, allowed: float) -> str:
    return f"1 - ({over('30d', what)}) / {allowed}"


def burn(what: str, allowed: float) -> dict[str, str]:
    return {window: f"quokkaq:http_{what}:ratio_rate{window} / {allowed}" for window in WINDOWS}


AVAILABILITY = ["AvailabilityBurnsBudgetFast", "AvailabilityBurnsBudgetSlowly"]
SPEED = ["LatencyBurnsBudgetFast", "LatencyBurnsBudgetSlowly"]


def quantile(share: float) -> str:
    return f"histogram_quantile({share}, sum by (le) (rate({LATENCY}{{{PEOPLE}}}[$__rate_interval])))"


SUMMARY = [
    number("Availability, 30 days", "The share of requests that didn't end with a 5xx. The objective is 99.9 %.", "percentunit",
           f"1 - ({over('30d', 'errors')})", limits=(0.9995, 0.999), runbooks=AVAILABILITY, decimals=3),
    number("Error budget left", "Of the 0.1 % that may fail in 30 days. Below 0 the objective is missed: no risky changes.",
           "percentunit", budget_left("errors", MAY_FAIL), limits=(0.25, 0), runbooks=AVAILABILITY, decimals=1),
    number("Availability, a day", "The same within 24 hours.", "percentunit", f"1 - ({over('1d', 'errors')})",
           limits=(0.9995, 0.999), runbooks=AVAILABILITY, decimals=3),
    number("Within 500 ms, 30 days", "The objective is 95 %: a p95 below 500 ms.", "percentunit", f"1 - ({over('30d', 'slow')})",
           limits=(0.96, 0.95), runbooks=SPEED, decimals=2),
    number("Latency budget left", "Of the 5 % that may take longer than 500 ms in 30 days.", "percentunit",
           budget_left("slow", MAY_BE_SLOW), limits=(0.25, 0), runbooks=SPEED, decimals=1),
    number("p95 now", "The slowest 5 % take longer.", "s", quantile(0.95), limits=(0.4, 0.5), runbooks=SPEED),
]  # fmt: skip

BURNING = "1 uses the budget up in just 30 days. Above 14.4 in 1 h and 5 m somebody is paged; above 1 for days there is an alert."
OBJECTIVES = [
    graph("Availability", "In the 5 minutes before each point, against the objective.", "percentunit",
          {"availability": "1 - quokkaq:http_errors:ratio_rate5m", "objective": f"vector({1 - MAY_FAIL})"}, width=12,
          runbooks=AVAILABILITY, least=None, most=1),
    graph("Latency", "Against the objective: p95 below 500 ms.", "s",
          {"p50": quantile(0.5), "p95": quantile(0.95), "p99": quantile(0.99), "objective": "vector(0.5)"}, width=12,
          runbooks=SPEED),
    graph("Error budget left", "How 30 days' budget went. A step is an outage; a slope is a defect.", "percentunit",
          {"left": budget_left("errors", MAY_FAIL)}, width=12, least=None, most=1, runbooks=AVAILABILITY),
    graph("Latency budget left", "The same for requests over 500 ms.", "percentunit",
          {"left": budget_left("slow", MAY_BE_SLOW)}, width=12, least=None, most=1, runbooks=SPEED),
    graph("How fast the error budget burns", BURNING, "short", burn("errors", MAY_FAIL), width=12, limits=(SLOW, FAST),
          runbooks=AVAILABILITY),
    graph("How fast the latency budget burns", BURNING, "short", burn("slow", MAY_BE_SLOW), width=12, limits=(SLOW, FAST),
          runbooks=SPEED),
]  # fmt: skip


def build() -> dashboard.Dashboard:
    return board(
        "quokkaq-objectives", "QuokkaQ · Objectives",
        "Are the objectives met: 99.9 % of requests answered, 95 % of them within 500 ms, over 30 days?",
        since="now-7d",
        rows={"30 days": [*SUMMARY], "Over time": [*OBJECTIVES]},
    )  # fmt: skip
