"""docker-compose.yml is a valid Compose file, wires up settings that the code reads, and publishes little."""

import importlib.util
import json
import re
from pathlib import Path

import check_jsonschema.builtin_schemas
import jsonschema
import pytest
import yaml
from pydantic_settings import BaseSettings

from gateway.settings import Settings as GatewaySettings
from launch.settings import LaunchSettings
from review_ui.settings import Settings as DashboardSettings
from serving.settings import ServingSettings
from tests.architecture.settings_read import variables

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
SCHEMA = Path(check_jsonschema.builtin_schemas.__file__).parent / "vendor" / "compose-spec.json"
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
EXAMPLE = (ROOT / "deploy" / "env.example").read_text()
READS: dict[str, type[BaseSettings]] = {
    "gateway": GatewaySettings,
    "worker": GatewaySettings,
    "migrate": GatewaySettings,
    "serving": ServingSettings,
    "dashboard": DashboardSettings,
}
OURS = sorted(READS)


def environment(name: str) -> dict[str, str]:
    return SERVICES[name].get("environment", {})


def stage(target: str) -> str:
    """The Dockerfile's lines of one target, with those of the stages it is built from."""
    found = re.search(rf"^FROM (\S+) AS {target}\n(.*?)(?=^FROM |\Z)", DOCKERFILE, re.M | re.S)
    assert found, f"deploy/Dockerfile has no target {target}"
    return (stage(found[1]) if ":" not in found[1] else "") + found[2]


def test_it_fits_the_compose_specification():
    jsonschema.validate(COMPOSE, json.loads(SCHEMA.read_text()))


def test_the_schema_refuses_what_is_wrong():
    broken = json.loads(json.dumps(COMPOSE))
    broken["services"]["gateway"]["depends_on"]["redis"]["condition"] = "service_perhaps"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, json.loads(SCHEMA.read_text()))


def test_the_whole_product_is_there():
    assert set(SERVICES) == {"gateway", "serving", "dashboard", "worker", "redis", "postgres", "migrate"}


@pytest.mark.parametrize("name", OURS)
def test_every_variable_is_one_that_its_process_reads(name):
    command = {"COUNTERSIGN_DASHBOARD_PORT"} if name == "gateway" else set()  # read by `countersign signin-link`
    assert set(environment(name)) <= set(variables(READS[name])) | command


def test_a_signin_link_leads_to_the_published_port_of_the_dashboard():
    told = environment("gateway")["COUNTERSIGN_DASHBOARD_PORT"]
    assert SERVICES["dashboard"]["ports"] == [f"127.0.0.1:{told}:8501"]


@pytest.mark.parametrize("name", ["gateway", "worker", "migrate"])
def test_the_truth_and_the_queue_are_the_same_for_all_who_use_them(name):
    truth = {key: environment(name)[key] for key in ("DATABASE_URL", "REDIS_URL")}
    assert truth == {key: environment("gateway")[key] for key in truth}
    assert "@postgres:5432/" in truth["DATABASE_URL"]
    assert "@redis:6379/" in truth["REDIS_URL"]


def test_serving_and_gateway_share_one_secret():
    assert environment("serving")["COUNTERSIGN_SERVING_TOKEN"] == environment("gateway")["COUNTERSIGN_SERVING_TOKEN"]


def test_only_one_process_does_the_workers_work():
    assert environment("gateway")["COUNTERSIGN_WORKER"] == "off"


@pytest.mark.parametrize(
    ("reader", "variable", "server"),
    [("gateway", "COUNTERSIGN_SERVING_URL", "serving"), ("dashboard", "COUNTERSIGN_GATEWAY_URL", "gateway")],
)
def test_each_address_names_a_service_on_a_shared_network_and_the_port_it_listens_on(reader, variable, server):
    host, port = environment(reader)[variable].removeprefix("http://").split(":")
    assert host == server
    assert f"COUNTERSIGN_PORT={port}" in stage(SERVICES[server]["build"]["target"])
    assert set(SERVICES[reader]["networks"]) & set(SERVICES[server]["networks"])


@pytest.mark.parametrize("name", OURS)
def test_images_are_built_here_and_run_without_root(name):
    build = SERVICES[name]["build"]
    assert (ROOT / build["dockerfile"]).is_file()
    users = re.findall(r"^USER (\S+)", stage(build["target"]), re.M)
    assert users
    assert users[-1] != "root"


@pytest.mark.parametrize(("name", "user"), [("redis", "valkey"), ("postgres", "postgres")])
def test_the_stores_run_without_root_too(name, user):
    assert SERVICES[name]["user"] == user


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_no_container_may_do_more_than_it_must(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_what_is_kept_in_memory_has_a_size(name):
    sizes = dict(each.split(":size=") for each in SERVICES[name]["tmpfs"])
    expected = {"/tmp": "512m" if name == "serving" else "64m"}
    assert sizes == (expected | {"/run/postgresql": "1m"} if name == "postgres" else expected)
    assert SERVICES[name].get("shm_size") == {"serving": "1g", "postgres": "256m"}.get(name)


def test_only_processes_that_keep_something_have_a_volume():
    kept = {name: service["volumes"] for name, service in SERVICES.items() if "volumes" in service}
    assert kept == {
        "postgres": ["postgres:/var/lib/postgresql"],
        "worker": ["audit:/var/lib/countersign/audit"],
        "redis": ["redis:/data"],
        "serving": ["serving:/var/lib/countersign"],
    }


def test_serving_may_take_as_long_to_start_as_the_launch_allows():
    allowed = LaunchSettings.model_fields["start_seconds"].default
    assert SERVICES["serving"]["healthcheck"]["start_period"] == f"{allowed:.0f}s"


@pytest.mark.parametrize("name", OURS)
def test_the_command_exists_in_the_product(name):
    target = stage(SERVICES[name]["build"]["target"])
    command = SERVICES[name].get("command") or json.loads(re.findall(r"^CMD (.+)$", target, re.M)[-1])
    words = command[-1].replace("&&", " && ").split() if command[0] == "sh" else command
    check = SERVICES[name].get("healthcheck", {}).get("test", [])
    for line in (words, check[1:]):
        for before, word in zip(["", *line], line, strict=False):
            if before == "-m":
                assert importlib.util.find_spec(word), word
            if before == "countersign":
                assert word in gateway_commands()


def gateway_commands() -> set[str]:
    import typer.main

    from gateway.command import app

    group = typer.main.get_command(app)
    return set(getattr(group, "commands", {}))


def test_what_the_images_copy_exists_and_is_not_ignored():
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.M):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source
            assert source.split("/")[0] in kept, f"{source} is hidden by .dockerignore"


def test_every_package_that_pyproject_names_is_copied():
    text = (ROOT / "pyproject.toml").read_text()
    packages = re.search(r"\[tool.hatch.build.targets.wheel\]\npackages = (\[.+\])", text)
    assert packages
    for package in json.loads(packages[1]):
        assert f"COPY {package} ./{package}" in DOCKERFILE


def test_the_first_calibration_is_the_one_the_image_serves_and_replaces_none():
    (checkpoint,) = re.findall(r"COUNTERSIGN_CHECKPOINT=(\S+)", DOCKERFILE)
    assert f"{checkpoint}/calibration.json --activate-if-none" in SERVICES["migrate"]["command"][-1]
    assert (ROOT / "serving/checkpoints" / Path(checkpoint).name / "config.json").is_file()


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"migrate"}))
def test_every_long_lived_service_has_a_health_check(name):
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] in ("CMD", "CMD-SHELL")
    assert check["retries"] >= 3


@pytest.mark.parametrize(
    ("port", "path", "name"),
    [(8100, "/health", "serving"), (8000, "/health/ready", "gateway"), (8501, "/_stcore/health", "dashboard")],
)
def test_health_checks_ask_what_the_launch_asks(port, path, name, tmp_path):
    from launch.parts import Wiring, parts

    launched = parts(LaunchSettings(home=tmp_path), Wiring("", "", "", ""))
    assert launched[name].ready_url.endswith(path)
    assert SERVICES[name]["healthcheck"]["test"][-1] == f"http://127.0.0.1:{port}{path}"


def test_nothing_starts_before_what_it_needs():
    for name, service in SERVICES.items():
        for needed, how in service.get("depends_on", {}).items():
            expected = "service_completed_successfully" if needed == "migrate" else "service_healthy"
            assert how["condition"] == expected, (name, needed)
    assert set(SERVICES["gateway"]["depends_on"]) == {"migrate", "postgres", "redis", "serving"}
    assert set(SERVICES["worker"]["depends_on"]) == {"migrate", "postgres", "redis"}
    assert set(SERVICES["dashboard"]["depends_on"]) == {"gateway"}


def test_only_gateway_and_dashboard_are_published_and_only_on_loopback():
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(published) == {"gateway", "dashboard"}
    for ports in published.values():
        assert all(str(port).startswith("127.0.0.1:") for port in ports)
    for name in ("serving", "redis", "postgres", "worker"):
        assert SERVICES[name]["networks"] == ["inside"]
    assert COMPOSE["networks"]["inside"]["internal"] is True


def test_the_log_is_signed_by_the_worker_alone_and_its_keys_open_what_all_write():
    signs = {name for name in SERVICES if "COUNTERSIGN_AUDIT_SIGNING_KEY" in environment(name)}
    assert signs == {"worker"}
    opens = {name for name in SERVICES if "COUNTERSIGN_MASTER_KEY" in environment(name)}
    assert opens == {"gateway", "worker", "migrate"}


def test_the_checkpoints_volume_is_where_the_worker_writes_and_belongs_to_it():
    home = re.findall(r"COUNTERSIGN_HOME=(\S+)", stage("worker"))[-1]
    settings = GatewaySettings(home=Path(home))
    (volume,) = SERVICES["worker"]["volumes"]
    assert volume.split(":")[1] == str(settings.checkpoints.parent)
    assert re.search(rf"--owner=countersign .*{settings.checkpoints.parent}$", stage("worker"), re.M)


def test_volumes_are_named_and_declared():
    used = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    assert used == set(COMPOSE["volumes"])


def test_no_secret_is_written_down():
    text = (ROOT / "docker-compose.yml").read_text()
    wanted = set(re.findall(r"^([A-Z_]+)=$", EXAMPLE, re.M))
    keys = {"COUNTERSIGN_MASTER_KEY", "COUNTERSIGN_AUDIT_SIGNING_KEY"}
    assert wanted == {"POSTGRES_PASSWORD", "REDIS_PASSWORD", "COUNTERSIGN_SERVING_TOKEN"} | keys
    for name in wanted:
        assert re.search(rf"\$\{{{name}:\?", text), f"{name} must be required, without a default"
    asked = set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", text))
    ours = {"COUNTERSIGN_GATEWAY_PORT", "COUNTERSIGN_DASHBOARD_PORT", "COUNTERSIGN_ALLOWED_HOSTS"}
    gang = {name for name, default in environment("serving").items() if default.startswith("${") and ":-" in default}
    assert asked == wanted | ours | gang | {"TORCH_INDEX_URL"}


def test_what_is_left_out_for_serving_is_what_it_would_take_itself():
    passed = {
        name: re.fullmatch(rf"\$\{{{name}:-(.*)\}}", str(value))[1]
        for name, value in environment("serving").items()
        if ":-" in str(value)
    }
    own = ServingSettings.model_fields
    defaults = {name: str(own[name.removeprefix("COUNTERSIGN_").lower()].default) for name in passed}
    defaults |= {"COUNTERSIGN_REPLICAS": "2"}  # one may be lost
    assert {name: value.lower() for name, value in passed.items()} == {k: v.lower() for k, v in defaults.items()}


def test_base_images_are_pinned():
    for image in re.findall(r"^FROM (\S+:\S+)", DOCKERFILE, re.M):
        assert re.fullmatch(r"python:3\.11\.\d+-slim-\w+", image)
    for name in ("postgres", "redis"):
        assert re.search(r":\d+\.\d+", SERVICES[name]["image"])
