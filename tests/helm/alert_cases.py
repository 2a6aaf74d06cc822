"""When each alert should fire and when it should not: series as promtool's unit tests write them."""

from __future__ import annotations

from dataclasses import dataclass

Series = dict[str, str]


@dataclass(frozen=True, slots=True)
class Case:
    """Samples come once a minute; ``fires`` and ``quiet`` are minutes."""

    alert: str
    what: str
    series: Series
    fires: tuple[int, ...] = ()
    quiet: tuple[int, ...] = ()


def counted(total: str, labels: str, a_minute: float) -> Series:
    """A counter that grows so much a minute."""
    return {f"{total}{{{labels}}}": f"0+{a_minute}x200"}


def histogram(name: str, labels: str, quick: str, slow: str, quick_share: float) -> Series:
    """A hundred observations a minute, of which a share is in the quick bucket and the rest in the slow one."""
    return {
        f'{name}_bucket{{{labels},le="{quick}"}}': f"0+{100 * quick_share}x200",
        f'{name}_bucket{{{labels},le="{slow}"}}': "0+100x200",
        f'{name}_bucket{{{labels},le="+Inf"}}': "0+100x200",
    }


CALLS = "stats_gateway_upstream_calls_total"
REQUESTS = "stats_gateway_requests_total"
ASKING = "stats_gateway_upstream_call_duration_seconds"
ANSWERING = "stats_gateway_request_duration_seconds"
BUDGET = {'stats_gateway_budget_calls_per_second{instance="a"}': "1x200"}

CASES = [
    Case(
        "StatsGatewayGateClosed",
        "closed as one instance of two sees it",
        {
            'stats_gateway_gate_closed_seconds{instance="a"}': "0x9 900x20 0x20",
            'stats_gateway_gate_closed_seconds{instance="b"}': "0x200",
        },
        fires=(16, 29),
        quiet=(9, 14, 35),
    ),
    Case(
        "StatsGatewayGateClosed", "open", {'stats_gateway_gate_closed_seconds{instance="a"}': "0x200"}, quiet=(60,)
    ),
    Case(
        "StatsGatewayFleetDisagrees",
        "another budget for a while",
        {'stats_gateway_fleet_disagreement{instance="a",setting="budget"}': "0x9 1x20 0x20"},
        fires=(16, 29),
        quiet=(9, 13, 35),
    ),
    Case(
        "StatsGatewayFleetDisagrees",
        "all alike",
        {'stats_gateway_fleet_disagreement{instance="a",setting="budget"}': "0x200"},
        quiet=(60,),
    ),
    Case(
        "StatsGatewayCredentialRefused",
        "one credential",
        {'stats_gateway_credentials_refused{instance="a"}': "1x200"},
        fires=(3,),
        quiet=(1,),
    ),
    Case(
        "StatsGatewayCredentialRefused",
        "none",
        {'stats_gateway_credentials_refused{instance="a"}': "0x200"},
        quiet=(60,),
    ),
    Case(
        "StatsGatewayDegraded",
        "one process of two",
        {'stats_gateway_degraded{instance="a"}': "1x200", 'stats_gateway_degraded{instance="b"}': "0x200"},
        fires=(3,),
        quiet=(1,),
    ),
    Case(
        "StatsGatewayDegraded",
        "for a moment",
        {'stats_gateway_degraded{instance="a"}': "0 1 0x200"},
        quiet=(1, 2, 5),
    ),
    Case(
        "StatsGatewayRegistryOld",
        "one process of two",
        {
            'stats_gateway_registry_age_seconds{instance="a"}': "1x5 30+60x10 1x200",
            'stats_gateway_registry_age_seconds{instance="b"}': "1x200",
        },
        fires=(9, 15),
        quiet=(5, 7, 20),
    ),
    Case(
        "StatsGatewayRegistryOld",
        "a look that takes its time",
        {'stats_gateway_registry_age_seconds{instance="a"}': "1 5 20 1x200"},
        quiet=(1, 2, 3, 10),
    ),
    Case(
        "StatsGatewayFailing",
        "one request in ten",
        counted(REQUESTS, 'outcome="failed",instance="a"', 10)
        | counted(REQUESTS, 'outcome="hit",instance="a"', 90),
        fires=(15,),
        quiet=(5,),
    ),
    Case(
        "StatsGatewayFailing",
        "one request in fifty",
        counted(REQUESTS, 'outcome="failed",instance="a"', 2)
        | counted(REQUESTS, 'outcome="hit",instance="a"', 98),
        quiet=(60,),
    ),
    Case(
        "StatsGatewayFailing",
        "nobody asks",
        counted(REQUESTS, 'outcome="failed",instance="a"', 0) | counted(REQUESTS, 'outcome="hit",instance="a"', 0),
        quiet=(60,),
    ),
    Case(
        "StatsGatewayQueueLong",
        "people wait, as every instance sees of the same queue",
        {
            'stats_gateway_queue_depth{band="people",instance="a"}': "150x200",
            'stats_gateway_queue_depth{band="people",instance="b"}': "150x200",
        },
        fires=(12,),
        quiet=(8,),
    ),
    Case(
        "StatsGatewayQueueLong",
        "refreshes wait, and instances are not added up",
        {
            'stats_gateway_queue_depth{band="refresh",instance="a"}': "900x200",
            'stats_gateway_queue_depth{band="people",instance="a"}': "60x200",
            'stats_gateway_queue_depth{band="people",instance="b"}': "60x200",
        },
        quiet=(60,),
    ),
    Case(
        "StatsGatewayBudgetSpent",
        "two instances together",
        counted(CALLS, 'result="2xx",instance="a"', 28) | counted(CALLS, 'result="5xx",instance="b"', 29) | BUDGET,
        fires=(70,),
        quiet=(20,),
    ),
    Case("StatsGatewayBudgetSpent", "half of it", counted(CALLS, 'instance="a"', 30) | BUDGET, quiet=(120,)),
    Case(
        "StatsGatewayBudgetSpent",
        "a budget without limit",
        counted(CALLS, 'instance="a"', 6000) | {"stats_gateway_budget_calls_per_second": " ".join(["Inf"] * 200)},
        quiet=(120,),
    ),
    Case(
        "StatsGatewayUpstreamSlow",
        "one answer in five",
        histogram(ASKING, 'result="2xx",instance="a"', "10.0", "20.0", 0.8),
        fires=(20,),
        quiet=(10,),
    ),
    Case(
        "StatsGatewayUpstreamSlow",
        "one answer in twenty",
        histogram(ASKING, 'result="2xx",instance="a"', "10.0", "20.0", 0.95),
        quiet=(60,),
    ),
    Case(
        "StatsGatewayHitsSlow",
        "one hit in twenty",
        histogram(ANSWERING, 'outcome="hit",instance="a"', "0.1", "0.2", 0.95),
        fires=(15,),
        quiet=(5,),
    ),
    Case(
        "StatsGatewayHitsSlow",
        "misses may be slow",
        histogram(ANSWERING, 'outcome="hit",instance="a"', "0.1", "0.2", 1)
        | histogram(ANSWERING, 'outcome="miss",instance="a"', "0.1", "0.2", 0.1),
        quiet=(60,),
    ),
    Case(
        "StatsGatewayAnswersChanged",
        "one process of two, for a while",
        {
            'stats_gateway_answer_shape_changed{instance="a",family="totals"}': "_x3 1x10 0x200",
            'stats_gateway_answer_shape_changed{instance="b",family="totals"}': "0x200",
        },
        fires=(5, 13),
        quiet=(2, 16),
    ),
    Case(
        "StatsGatewayAnswersChanged",
        "never",
        {'stats_gateway_answer_shape_changed{instance="a",family="totals"}': "0x200"},
        quiet=(30,),
    ),
    Case(
        "StatsGatewayRecordsUndecodable",
        "a few, once",
        {'stats_gateway_undecodable_records_total{instance="a"}': "0x4 3x200"},
        fires=(6, 15),
        quiet=(3, 30),
    ),
    Case(
        "StatsGatewayRecordsUndecodable",
        "those of last week",
        {'stats_gateway_undecodable_records_total{instance="a"}': "7x200"},
        quiet=(30,),
    ),
    Case(
        "StatsGatewayWarmingFailed",
        "skipped one night",
        {'stats_gateway_warming_runs_total{instance="a",warming="nightly",result="skipped"}': "0x9 1x200"},
        fires=(15, 60),
        quiet=(5, 80),
    ),
    Case(
        "StatsGatewayWarmingFailed",
        "done, and cancelled by its tenant",
        {
            'stats_gateway_warming_runs_total{instance="a",warming="nightly",result="done"}': "0x9 1x200",
            'stats_gateway_warming_runs_total{instance="a",warming="weekly",result="cancelled"}': "0x9 1x200",
        },
        quiet=(15, 60),
    ),
]
