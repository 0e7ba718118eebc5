"""The shipped alert rules: valid for Prometheus, with existing metrics, and firing when they should."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from datafor_token.metrics.table import PREFIX, TABLE
from tests.support import ROOT, need

RULES = ROOT / "config" / "alerts.yml"


def promtool(*arguments: str) -> None:
    need("promtool")
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_are_valid() -> None:
    """promtool finds no error in the file."""
    promtool("check", "rules", str(RULES))


def test_the_rules_use_existing_metrics() -> None:
    """Every metric of an expression is in the table and has the labels that the expression selects."""
    text = RULES.read_text()
    asked = re.findall(rf"\b{PREFIX}(\w+?)(?:_bucket|_sum|_count)?(?:\{{(\w+)[!=~]+|[\[) ])", text)
    assert len(asked) >= 5
    for name, label in asked:
        assert name in TABLE
        assert not label or label in TABLE[name].labels


def series(name: str, growth: str, **labels: str) -> dict[str, str]:
    shown = ",".join(f'{label}="{value}"' for label, value in {"instance": "host", **labels}.items())
    return {"series": f"{PREFIX}{name}{{{shown}}}", "values": growth}


def requests(growth: str, status: int, route: str = "/auth/check") -> dict[str, str]:
    return series("requests_total", growth, status=str(status), route=route)


def unreachable(growth: str) -> dict[str, str]:
    return series("store_failures_total", growth, collection="users", kind="unavailable")


def node(growth: str = "1x120", job: str = "datafor", **changed: str) -> dict[str, str]:
    labels = {"version": "1", "key": "k", "other_keys": "", "settings": "s", "node": "a", **changed}
    return series("node_info", growth, job=job, **{**labels, "instance": labels["node"]})


def sign_ins(growth: str, outcome: str) -> dict[str, str]:
    return series("sign_ins_total", growth, outcome=outcome)


@pytest.mark.parametrize(
    ("alert", "given", "fires"),
    [
        ("Errors", [requests("0+60x120", 200), requests("0+6x120", 503)], True),
        ("Errors", [requests("0+600x120", 200), requests("0+6x120", 503)], False),
        ("Errors", [requests("0+60x120", 200), requests("0+60x120", 404)], False),
        ("Errors", [requests("0x85 2x35", 500)], False),
        ("Errors", [requests("0+60x120", 200), requests("0+60x120", 503, "/datafor/readyz")], False),
        ("Storage", [series("store_failures_total", "0x85 1x35", collection="users", kind="damaged")], True),
        ("Storage", [series("audit_unrecorded_total", "0x85 1x35")], True),
        ("AuditSink", [series("audit_sink_waiting_bytes", "10000001x120", sink="webhook")], True),
        ("AuditSink", [series("audit_sink_lost_total", "0x85 1x35", sink="webhook")], True),
        ("AuditSink", [series("audit_sink_waiting_bytes", "9000000x120")], False),
        ("AuditSink", [series("audit_sink_lost_total", "7x120")], False),
        ("Storage", [series("store_failures_total", "7x120"), series("audit_unrecorded_total", "7x120")], False),
        ("RefusedSignIns", [sign_ins("0+6x80 600+300x40", "wrong_password")], True),
        ("RefusedSignIns", [sign_ins("_x80 0+300x40", "signature")], True),
        ("RefusedSignIns", [sign_ins("0+300x120", "wrong_password")], False),
        ("RefusedSignIns", [sign_ins("0+6x80 600+300x40", "accepted")], False),
        ("DatabaseAway", [unreachable("0x85 1+1x35")], True),
        ("DatabaseAway", [unreachable("0x80 5+0x40")], False),
        ("DatabaseAway", [series("store_failures_total", "0+1x120", collection="users", kind="lock_timeout")], False),
        ("RedisAway", [series("limit_failures_total", "0x80 1+1x40", storage="redis")], True),
        ("RedisAway", [series("limit_failures_total", "0x80 1+1x40", storage="files")], False),
        ("RedisAway", [series("limit_failures_total", "0x80 3+0x40", storage="redis")], False),
        ("Clock", [series("clock_offset_seconds", "0x80 -2.5x40")], True),
        ("Clock", [series("clock_offset_seconds", "0x80 2.5x40")], True),
        ("Clock", [series("clock_offset_seconds", "0x80 1.5x40")], False),
        ("Drift", [node(), node(node="b")], False),
        ("Drift", [node(), node(node="b", version="2")], True),
        ("Drift", [node(), node(node="b", key="l")], True),
        ("Drift", [node(), node(node="b", other_keys="l")], True),
        ("Drift", [node(), node(node="b", settings="t")], True),
        ("Drift", [node(), node(node="b", settings="t", job="other")], False),
        ("Drift", [node(), node("1x70 _x50", node="b", version="2"), node("_x70 1x50", node="b")], False),
    ],
)  # fmt: skip
def test_an_alert_fires_when_it_should(tmp_path: Path, alert: str, given: list[Any], fires: bool) -> None:
    """After ninety minutes of these series, with one value a minute, the alert fires or not."""
    expression = f'count(ALERTS{{alertname="DataforToken{alert}",alertstate="firing"}}) or vector(0)'
    expected = [{"labels": "{}", "value": int(fires)}]
    case = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": given,
                "promql_expr_test": [{"expr": expression, "eval_time": "90m", "exp_samples": expected}],
            }
        ],
    }
    file = tmp_path / "case.yml"
    # JSON is YAML.
    file.write_text(json.dumps(case))
    promtool("test", "rules", str(file))
