"""Each alert fires when it should and is quiet when it should: Prometheus' own tool judges the rendered rules."""

import asyncio
import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tests.chart.rendered import AUTH, REDIS, ROOT, render

TOOL_S = 60.0

LABELS = 'namespace="talk",job="chat-maru-internal"'
"""Of every series that is scraped from this release."""

Input = dict[str, str]
"""Series, with `$` for the labels above, and their values every 15 s in promtool's notation: start+step x times."""


class Case(NamedTuple):
    """Series with which an alert fires after so many minutes, and others with which it does not."""

    minutes: int
    fires: Input
    quiet: Input


def _histogram(name: str, fast: str, slow: str, share: int) -> Input:
    """One observation in 15 s a hundred times over, of which so many are within `fast`, the others within `slow`."""
    return {
        f'{name}_bucket{{$,pod="a",le="{fast}"}}': f"0+{share}x200",
        f'{name}_bucket{{$,pod="a",le="{slow}"}}': "0+100x200",
        f'{name}_bucket{{$,pod="a",le="+Inf"}}': "0+100x200",
    }


CASES = {
    "MaruDown": Case(5, {'up{$,pod="a"}': "0x40"}, {'up{$,pod="a"}': "1x40", 'up{$,pod="b"}': "0x40"}),
    "MaruReplicaDown": Case(8, {'up{$,pod="a"}': "0x60"}, {'up{$,pod="a"}': "0x12 1x48"}),
    "MaruVersionsDiffer": Case(
        40,
        {'maru_build_info{$,pod="a",version="1"}': "1x200", 'maru_build_info{$,pod="b",version="2"}': "1x200"},
        {'maru_build_info{$,pod="a",version="1"}': "1x80", 'maru_build_info{$,pod="b",version="2"}': "1x200"},
    ),
    "MaruBrokerLinkDown": Case(
        3, {'maru_broker_link_up{$,pod="a"}': "0x20"}, {'maru_broker_link_up{$,pod="a"}': "0x2 1x20"}
    ),
    "MaruBrokerLinkFlaps": Case(
        16,
        {'maru_broker_link_losses_total{$,pod="a"}': "0+0.1x80"},
        {'maru_broker_link_losses_total{$,pod="a"}': "0x20 1x60"},
    ),
    "MaruControlLate": Case(
        3, {'maru_control_age_seconds{$,pod="a"}': "6+60x20"}, {'maru_control_age_seconds{$,pod="a"}': "0.3 7 0.3x20"}
    ),
    "MaruWebhookOff": Case(
        2,
        {
            'maru_webhook_off{$,pod="a",endpoint="crm"}': "0x4 1x20",
            'maru_webhook_off{$,pod="b",endpoint="crm"}': "0x24",
        },
        {'maru_webhook_off{$,pod="a",endpoint="crm"}': "0x24"},
    ),
    "MaruWebhookLate": Case(
        8,
        {'maru_webhook_oldest_seconds{$,pod="a",endpoint="crm"}': "301+15x40"},
        {'maru_webhook_oldest_seconds{$,pod="a",endpoint="crm"}': "400x8 0x32"},
    ),
    "MaruWebhookDeadLetters": Case(
        3,
        {'maru_webhook_dead_letters_total{$,pod="a",endpoint="crm"}': "0x4 3x20"},
        {'maru_webhook_dead_letters_total{$,pod="a",endpoint="crm"}': "3x24"},
    ),
    "MaruErasureStuck": Case(
        130,
        {'maru_erasures{$,pod="a"}': "1x600", 'maru_erased_messages_total{$,pod="a"}': "7x600"},
        {'maru_erasures{$,pod="a"}': "1x600", 'maru_erased_messages_total{$,pod="a"}': "0+64x600"},
    ),
    "MaruLogEvicts": Case(7, {'maru_log_evicts{$,pod="a"}': "1x40"}, {'maru_log_evicts{$,pod="a"}': "0x40"}),
    "MaruSendsUnavailable": Case(
        8,
        {'maru_commands_total{$,code="unavailable"}': "0+5x60", 'maru_commands_total{$,code="ok"}': "0+95x60"},
        {'maru_commands_total{$,code="unavailable"}': "0x60", 'maru_commands_total{$,code="conflict"}': "0+95x60"},
    ),
    "MaruLogFull": Case(3, {'maru_log_full{$,pod="a"}': "1x40"}, {'maru_log_full{$,pod="a"}': "0x40"}),
    "MaruLogNearlyFull": Case(
        8,
        {'maru_log_bytes{$,pod="a"}': "95x40", 'maru_log_limit_bytes{$,pod="a"}': "100x40"},
        {'maru_log_bytes{$,pod="a"}': "0x40", 'maru_log_limit_bytes{$,pod="a"}': "0x40"},
    ),
    "MaruInternalErrors": Case(
        11,
        {'maru_commands_total{$,code="internal"}': "0+0.1x60"},
        {'maru_commands_total{$,code="internal"}': "0x60", 'maru_commands_total{$,code="ok"}': "0+9x60"},
    ),
    "MaruApiErrors": Case(
        11,
        {'maru_api_requests_total{$,status="503"}': "0+5x60", 'maru_api_requests_total{$,status="200"}': "0+95x60"},
        {'maru_api_requests_total{$,status="503"}': "0x60", 'maru_api_requests_total{$,status="404"}': "0+95x60"},
    ),
    "MaruLogLost": Case(
        11,
        {'maru_resumes_total{$,result="epoch_changed"}': "0+1x60"},
        {'maru_resumes_total{$,result="recovered"}': "0+9x60", 'maru_resumes_total{$,result="expired"}': "0+9x60"},
    ),
    "MaruResumesFail": Case(
        25,
        {'maru_resumes_total{$,result="expired"}': "0+2x120", 'maru_resumes_total{$,result="recovered"}': "0+8x120"},
        # All fail, but they are few: a night with one old tab.
        {'maru_resumes_total{$,result="expired"}': "0+0.1x120", 'maru_resumes_total{$,result="recovered"}': "0x120"},
    ),
    "MaruGapsHealed": Case(
        30,
        {"maru_gaps_healed_total{$}": "0+1x160", "maru_events_total{$}": "0+60x160"},
        {"maru_gaps_healed_total{$}": "0+1x160", "maru_events_total{$}": "0+900x160"},
    ),
    "MaruHintsRefused": Case(
        45,
        {"maru_hints_refused_total{$}": "0x2 1+1x200"},
        {"maru_hints_refused_total{$}": "0x2 1+9x10 100x60"},
    ),
    "MaruChannelFaults": Case(
        10,
        {"maru_channel_faults_total{$}": "0x20 1x40"},
        {"maru_channel_faults_total{$}": "3x60"},
    ),
    "MaruTrimRefused": Case(
        10,
        {"maru_trims_refused_total{$}": "0x20 1x40"},
        {"maru_trims_refused_total{$}": "3x60"},
    ),
    "MaruLogLinesDropped": Case(
        10,
        {"maru_log_lines_dropped_total{$}": "0x20 1x40"},
        {"maru_log_lines_dropped_total{$}": "3x60"},
    ),
    "MaruIssuerAway": Case(
        20,
        {
            'maru_jwks_age_seconds{$,pod="a"}': "0+15x100",
            'maru_jwks_fetches_total{$,pod="a",outcome="late"}': "0+0.5x100",
            'maru_jwks_fetches_total{$,pod="a",outcome="ok"}': "1x100",
        },
        {
            'maru_jwks_age_seconds{$,pod="a"}': "0+15x100",
            'maru_jwks_fetches_total{$,pod="a",outcome="late"}': "0x100",
            'maru_jwks_age_seconds{$,pod="b"}': "0+15x50 0+15x50",
            'maru_jwks_fetches_total{$,pod="b",outcome="late"}': "0+0.5x100",
        },
    ),
    "MaruTokenInQuery": Case(
        10,
        {'maru_admission_refusals_total{$,reason="token_in_query"}': "0x20 1x40"},
        {'maru_admission_refusals_total{$,reason="bad_request"}': "0x20 1x40"},
    ),
    "MaruSlowDelivery": Case(
        12,
        _histogram("maru_publish_to_write_seconds", "0.5", "1.0", 90),
        _histogram("maru_publish_to_write_seconds", "0.5", "1.0", 100),
    ),
    "MaruSlowLog": Case(
        12,
        _histogram("maru_log_append_seconds", "0.25", "0.5", 90),
        _histogram("maru_log_append_seconds", "0.25", "0.5", 100),
    ),
    "MaruLoopLag": Case(
        12,
        _histogram("maru_loop_lag_seconds", "0.1", "0.25", 90),
        _histogram("maru_loop_lag_seconds", "0.1", "0.25", 100),
    ),
    "MaruBusy": Case(
        18,
        {'maru_process_cpu_seconds_total{$,pod="a"}': "0+14x80"},
        {'maru_process_cpu_seconds_total{$,pod="a"}': "0+10x80", 'maru_process_cpu_seconds_total{$,pod="b"}': "0+9x80"},
    ),
    "MaruOverloaded": Case(
        5,
        {'maru_overload_state{$,pod="a"}': "1x40", 'maru_overload_state{$,pod="b"}': "0x40"},
        {'maru_overload_state{$,pod="a"}': "1x4 0 1x4 0 2x4 0 1x4 0 1x4 0x20"},
    ),
    "MaruConnectionsFull": Case(
        12,
        {'maru_admission_refusals_total{$,reason="connections"}': "0+3x80"},
        {'maru_admission_refusals_total{$,reason="busy"}': "0+3x80"},
    ),
    "MaruHookNoVerdict": Case(
        8,
        {
            'maru_hook_asks_total{$,hook="send",outcome="timed_out"}': "0+10x60",
            'maru_hook_asks_total{$,hook="send",outcome="accepted"}': "0+90x60",
        },
        {
            'maru_hook_asks_total{$,hook="send",outcome="rejected"}': "0+90x60",
            'maru_hook_asks_total{$,hook="send",outcome="bad_answer"}': "0x60",
        },
    ),
    "MaruHookSlow": Case(
        21, _histogram("maru_hook_ask_seconds", "0.5", "1.0", 90), _histogram("maru_hook_ask_seconds", "0.5", "1.0", 99)
    ),
    "MaruAdmissionRefused": Case(
        18,
        {'maru_admission_refusals_total{$,reason="rate"}': "0+3x80"},
        {'maru_admission_refusals_total{$,reason="draining"}': "0+3x80"},
    ),
    "MaruChurn": Case(
        20,
        {"maru_connections_opened_total{$}": "0+50x100", "maru_connections{$}": "300x100"},
        {"maru_connections_opened_total{$}": "0+50x100", "maru_connections{$}": "1000x100"},
    ),
    "MaruSlowReaders": Case(
        12,
        {"maru_slow_closes_total{$}": "0+1x60", "maru_connections{$}": "500x60"},
        {"maru_slow_closes_total{$}": "0+1x60", "maru_connections{$}": "10000x60"},
    ),
    "MaruFewDescriptors": Case(
        8,
        {'maru_process_open_fds{$,pod="a"}': "900x60", 'maru_process_max_fds{$,pod="a"}': "1000x60"},
        {'maru_process_open_fds{$,pod="a"}': "700x60", 'maru_process_max_fds{$,pod="a"}': "1000x60"},
    ),
    # Replicas as they go in an update: told at once, scraped once or twice while they drain, then gone.
    "MaruDrainAborts": Case(
        12,
        {
            'maru_drain_notified_total{$,pod="a"}': "0x20 800x1 stale",
            'maru_drain_closed_total{$,how="aborted",pod="a"}': "0x20 60 150 stale",
            'maru_drain_closed_total{$,how="closed",pod="a"}': "0x20 90 500 stale",
            'maru_drain_notified_total{$,pod="b"}': "0x24 400 stale",
            'maru_drain_closed_total{$,how="aborted",pod="b"}': "0x24 20 stale",
        },
        # Most left by themselves, which is counted when nobody scrapes any more.
        {
            'maru_drain_notified_total{$,pod="a"}': "0x20 800x1 stale",
            'maru_drain_closed_total{$,how="aborted",pod="a"}': "0x20 10 30 stale",
            'maru_drain_closed_total{$,how="closed",pod="a"}': "0x20 5 20 stale",
            'maru_drain_closed_total{$,how="left",pod="a"}': "0x22 stale",
        },
    ),
}


def _rules(**values: Any) -> list[dict[str, Any]]:
    rule = render(AUTH, REDIS, {"metrics": {"prometheusRule": {"enabled": True, **values}}}).one("PrometheusRule")
    (group,) = rule["spec"]["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


async def _promtool(folder: Path, *arguments: str) -> tuple[int, str]:
    tool = shutil.which("promtool")
    assert tool is not None
    process = await asyncio.create_subprocess_exec(
        tool,
        *arguments,
        cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(TOOL_S):
        said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


def _group(alert: str, minutes: int, series: Input, times: int) -> dict[str, Any]:
    """One test of promtool: with these series the alert fires for so many sets of labels."""
    return {
        "interval": "15s",
        "input_series": [{"series": name.replace("$", LABELS), "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": f'count(ALERTS{{alertname="{alert}",alertstate="firing"}})',
                "eval_time": f"{minutes}m",
                "exp_samples": [{"labels": "{}", "value": times}] if times else [],
            }
        ],
    }


async def test_prometheus_takes_the_rules(tmp_path: Path) -> None:
    """`promtool check rules`, which reads the templates of the annotations too."""
    rules = _rules()
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "maru", "rules": rules}]}))
    code, said = await _promtool(tmp_path, "check", "rules", "rules.yaml")
    assert code == 0, said
    assert f"SUCCESS: {len(rules)} rules found" in said


async def test_prometheus_would_refuse_a_bad_rule(tmp_path: Path) -> None:
    """The check above is not blind, neither to a query nor to a template."""
    for key, text in (("expr", "sum(rate(maru_events_total[5m])"), ("annotations", {"summary": "{{ $label.pod }}"})):
        bad = _rules()[0] | {key: text}
        (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "maru", "rules": [bad]}]}))
        code, said = await _promtool(tmp_path, "check", "rules", "rules.yaml")
        assert code != 0, said


def test_every_alert_has_a_case() -> None:
    """An alert that is added here is tried here."""
    assert [rule["alert"] for rule in _rules()] == list(CASES)


async def test_alerts_fire_when_they_should_and_not_else(tmp_path: Path) -> None:
    """`promtool test rules`: for each alert, series that are its case and series that nearly are."""
    for rule in _rules():
        alert, case = rule["alert"], CASES[rule["alert"]]
        (tmp_path / f"{alert}.rule.yaml").write_text(yaml.safe_dump({"groups": [{"name": "maru", "rules": [rule]}]}))
        document = {
            "rule_files": [f"{alert}.rule.yaml"],
            "evaluation_interval": "30s",
            "tests": [_group(alert, case.minutes, case.fires, 1), _group(alert, case.minutes, case.quiet, 0)],
        }
        (tmp_path / f"{alert}.test.yaml").write_text(yaml.safe_dump(document))
    code, said = await _promtool(tmp_path, "test", "rules", *(f"{alert}.test.yaml" for alert in CASES))
    assert code == 0, said
    assert said.count("SUCCESS") == len(CASES)


def test_each_alert_says_how_bad_and_what_to_do() -> None:
    """A severity of two, a summary, a description; and a part of docs/operations.md under its name."""
    manual = (ROOT / "docs" / "operations.md").read_text()
    for rule in _rules():
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"].keys() == {"summary", "description"}
        assert re.search(rf"^\| `{rule['alert']}` \|", manual, re.MULTILINE), f"{rule['alert']} is not in operations.md"


def test_alerts_take_labels_and_can_be_left_out() -> None:
    """`alertLabels` on each, over its own; `disabled` ones are gone."""
    rules = _rules(alertLabels={"team": "chat", "severity": "page"}, disabled=["MaruDown", "MaruChurn"])
    assert {rule["alert"] for rule in rules} == CASES.keys() - {"MaruDown", "MaruChurn"}
    assert all(rule["labels"] == {"team": "chat", "severity": "page"} for rule in rules)


def test_the_manual_says_what_no_alert_can() -> None:
    """A drain that hangs lives some seconds over its time, less than from one scrape to the next: the log has it."""
    assert not [rule for rule in _rules() if "maru_drain_seconds" in rule["expr"]]
    manual = (ROOT / "docs" / "operations.md").read_text()
    assert "best effort" in manual
    assert "`stop.overdue`" in manual.partition("## Alerts")[2].partition("## Log lines")[0]
