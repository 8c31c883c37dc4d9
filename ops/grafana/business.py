"""Is QuokkaQ used, do questions get answers, and what does that cost?"""

from grafana_foundation_sdk.builders import dashboard

from ops.grafana.panels import board, graph, number

ANSWERED, PUBLISHED = "quokkaq_ai_answers_total", 'outcome="published"'


def a_day(metric: str, by: str = "", labels: str = "") -> str:
    """How many within the 24 hours before."""
    return f"sum {by and f'by ({by}) '}(increase({metric}{labels and '{' + labels + '}'}[1d]))"


def model_quantile(share: float) -> str:
    return f"histogram_quantile({share}, sum by (le, engine) (rate(quokkaq_model_seconds_bucket[$__rate_interval])))"


SUMMARY = [
    number("People today", "Whose session was in use within a day.", "short", 'max(quokkaq_active_users{window="day"})'),
    number("People this week", "Whose session was in use within a week.", "short", 'max(quokkaq_active_users{window="week"})'),
    number(
        "Who comes daily", "People today as a share of people this week: 1/7 is once a week, 1 is every day.", "percentunit",
        'max(quokkaq_active_users{window="day"}) / max(quokkaq_active_users{window="week"})', decimals=0,
    ),
    number("Threads", "All there are.", "short", "max(quokkaq_threads)"),
    number("Questions nobody answered", "Compare with the number of threads, and with last week.", "short",
           "max(quokkaq_threads_unanswered)"),
    number(
        "Budget used", "The largest part of today's cap that any course or institution has used.", "percentunit",
        "max(quokkaq_budget_used_ratio)", limits=(0.8, 1), runbooks=["BudgetNearlyUsed", "BudgetUsed"], decimals=0,
    ),
]  # fmt: skip

FORUM = [
    graph("Threads a day", "Within the 24 hours before each point, by kind.", "short",
          {"{{kind}}": a_day("quokkaq_threads_created_total", "kind")}, stacked=True),
    graph("Posts a day", "Replies and comments.", "short", {"posts": a_day("quokkaq_posts_created_total")}),
    graph("Posts per thread", "How much is said to what was asked within the same day.", "short",
          {"posts per thread": f"{a_day('quokkaq_posts_created_total')} / {a_day('quokkaq_threads_created_total')}"}),
    graph("Votes and endorsements a day", "What people found helpful, and what staff vouch for.", "short",
          {"votes": a_day("quokkaq_votes_total"), "endorsements": a_day("quokkaq_endorsements_total")}),
    graph("People", "Whose session was in use within a day, and within a week.", "short",
          {"within a {{window}}": "max by (window) (quokkaq_active_users)"}),
    graph("Questions nobody answered", "A line that only rises: staff don't keep up.", "short",
          {"unanswered": "max(quokkaq_threads_unanswered)"}),
]  # fmt: skip

ANSWERS = [
    graph("AI answers a day, by outcome", "Failed ones: look at the engine. Withdrawn ones: staff found them wrong.", "short",
          {"{{outcome}}": a_day(ANSWERED, "outcome")}, stacked=True, runbooks=["DependencyDown"]),
    graph("AI answers a day, by confidence", "More low ones: materials are missing, or questions changed.", "short",
          {"{{confidence}}": a_day(ANSWERED, "confidence")}, stacked=True),
    graph("Calls of engines a day", "By how they ended. Refused: a budget or a limit.", "short",
          {"{{engine}} {{outcome}}": a_day("quokkaq_model_calls_total", "engine, outcome")}, runbooks=["BudgetUsed"]),
    graph("Cost a day", "In US dollars, by engine.", "currencyUSD",
          {"{{engine}}": a_day("quokkaq_model_cost_dollars_total", "engine")}, stacked=True, runbooks=["BudgetNearlyUsed"]),
    graph("Tokens a day", "As providers count them.", "short",
          {"{{engine}} {{direction}}": a_day("quokkaq_model_tokens_total", "engine, direction")}, stacked=True),
    graph("How long engines take", "p50 and p95.", "s",
          {f"p{round(100 * share)} {{{{engine}}}}": model_quantile(share) for share in (0.5, 0.95)},
          limits=(10, 30), runbooks=["DependencyDown"]),
    graph("Budget used", "The largest part of today's cap any course, or institution, has used. At 1 quotations answer instead.",
          "percentunit", {"{{scope}}": "max by (scope) (quokkaq_budget_used_ratio)"}, limits=(0.8, 1),
          runbooks=["BudgetNearlyUsed", "BudgetUsed"], width=12),
    graph("AI answers given", "The share of those an engine came to a published answer for.", "percentunit",
          {"published": f"{a_day(ANSWERED, labels=PUBLISHED)} / {a_day(ANSWERED)}"}, most=1, width=12),
]  # fmt: skip

PEOPLE = [
    graph("Sign-ins a day", "By the way people came.", "short",
          {"{{method}}": a_day("quokkaq_sign_ins_total", "method", 'outcome="succeeded"')}, stacked=True),
    graph("Sign-ins that fail, a day", "More than 10 a minute raise an alert.", "short",
          {"{{method}}": a_day("quokkaq_sign_ins_total", "method", 'outcome="failed"')}, stacked=True,
          runbooks=["SignInsFailing"]),
    graph("Accounts made a day", "At the beginning of a term many.", "short", {"accounts": a_day("quokkaq_sign_ups_total")}),
    graph("Mails a day", "Failed ones are tried again; many: the mail server refuses.", "short",
          {"{{outcome}}": a_day("quokkaq_mails_total", "outcome")}, width=12, runbooks=["TasksFailing"]),
    graph("Files a day", "Rejected: the scanner or the inspection refused. Expired: never checked.", "short",
          {"{{outcome}}": a_day("quokkaq_uploads_total", "outcome")}, width=12, runbooks=["DependencyDown"]),
]  # fmt: skip


def build() -> dashboard.Dashboard:
    return board(
        "quokkaq-business", "QuokkaQ · Use",
        "Is QuokkaQ used, do questions get answers, and what does that cost? Of all institutions together.",
        since="now-30d",
        rows={"Now": [*SUMMARY], "Forum": [*FORUM], "AI answers": [*ANSWERS], "People, mails, files": [*PEOPLE]},
    )  # fmt: skip
