"""What the chart's tests check, counted: ``make chart`` ends with it."""

from __future__ import annotations

import re

import yaml

from tests.helm.alert_cases import CASES as ALERT_CASES
from tests.helm.chart import CASES, CHART, VALUES, helm, rendered
from tests.helm.kubernetes import NEWEST, faults
from tests.helm.test_monitoring import queries
from tests.helm.test_refusals import BY_THE_CHART, BY_THE_SCHEMA, complaint


def main() -> None:
    """Does each check once more, and prints how many there were and how they came out."""
    linted = [helm("lint", "--strict", str(CHART), "--values", str(VALUES / f"{case}.yaml")) for case in CASES]
    clean = sum("1 chart(s) linted, 0 chart(s) failed" in done.stdout for done in linted)
    print(f"helm lint --strict: {clean} of {len(CASES)} sets of values clean ({', '.join(CASES)})")
    made = [each for case in CASES for each in rendered(case)]
    for version in NEWEST:
        found = [fault for each in made for fault in faults(each, version)]
        missing = sum(fault.startswith("there is no schema") for fault in found)
        kinds = len({(each["apiVersion"], each["kind"]) for each in made})
        print(f"Kubernetes {version}: {len(made)} manifests of {kinds} kinds, {len(found)} faults, "
              f"{missing} without a schema")  # fmt: skip
    refused = sum(said in complaint(values) for values, said in (*BY_THE_SCHEMA, *BY_THE_CHART))
    print(f"bad values: {refused} of {len(BY_THE_SCHEMA) + len(BY_THE_CHART)} refused, and told why")
    rules = yaml.safe_load((CHART / "files" / "alerts.rules.yml").read_text())["groups"][0]["rules"]
    metrics = set(re.findall(r"stats_gateway_\w+", " ".join(queries().values())))
    print(f"monitoring: {len(rules)} alerts in {len(ALERT_CASES)} cases, {len(queries())} queries of "
          f"{len(metrics)} series in the dashboard")  # fmt: skip


if __name__ == "__main__":
    main()
