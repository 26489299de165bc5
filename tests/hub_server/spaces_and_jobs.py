"""Spaces' variables, secrets and state; Jobs. Neither runs anything: what was asked for can be looked at."""

import secrets

from .access import belongs, check_write, repository_of, writable
from .refusal import Refusal
from .store import Repository, now
from .wire import Answer, Request, route


@route("GET", "/api/spaces/{repo}/variables")
def variables(request: Request) -> Answer:
    return Answer(body=writable(request, "spaces").variables)


@route("POST", "/api/spaces/{repo}/variables")
def add_variable(request: Request) -> Answer:
    space, wanted = writable(request, "spaces"), request.json()
    space.variables[wanted["key"]] = {**wanted, "updatedAt": now()}
    request.hub.store.save(space)
    return Answer(body=space.variables)


@route("DELETE", "/api/spaces/{repo}/variables")
def delete_variable(request: Request) -> Answer:
    space = writable(request, "spaces")
    space.variables.pop(request.json()["key"], None)
    request.hub.store.save(space)
    return Answer(body=space.variables)


@route("GET", "/api/spaces/{repo}/secrets")
def secrets_of(request: Request) -> Answer:
    return Answer(body=writable(request, "spaces").secrets)


@route("POST", "/api/spaces/{repo}/secrets")
def add_secret(request: Request) -> Answer:
    space, wanted = writable(request, "spaces"), request.json()
    wanted.pop("value")
    space.secrets[wanted["key"]] = {**wanted, "updatedAt": now()}
    request.hub.store.save(space)
    return Answer(body={})


@route("DELETE", "/api/spaces/{repo}/secrets")
def delete_secret(request: Request) -> Answer:
    space = writable(request, "spaces")
    space.secrets.pop(request.json()["key"], None)
    request.hub.store.save(space)
    return Answer(body={})


@route("GET", "/api/spaces/{repo}/runtime")
def runtime(request: Request) -> Answer:
    return Answer(body=_runtime(repository_of(request, "spaces")))


@route("POST", "/api/spaces/{repo}/(?:hardware|sleeptime|restart|pause)")
def change_runtime(request: Request) -> Answer:
    return Answer(body=_runtime(writable(request, "spaces")))


def _runtime(space: Repository) -> dict:
    stage = "RUNNING" if "app.py" in space.commit_of("main").files else "NO_APP_FILE"
    return {
        "stage": stage,
        "hardware": {"current": "cpu-basic", "requested": "cpu-basic"},
        "gcTimeout": 172800,
    }


@route("POST", "/api/jobs/{namespace}")
def run_job(request: Request) -> Answer:
    """Keep what was asked for. The values of secrets stay in memory (`hub.job_secrets`)."""
    namespace, wanted = request.names["namespace"], request.json()
    check_write(request, namespace)
    id_ = secrets.token_hex(12)
    request.hub.job_secrets[id_] = wanted.pop("secrets", None) or {}
    job = {
        **wanted,
        "id": id_,
        "createdAt": now(),
        "secrets": {name: None for name in request.hub.job_secrets[id_]},
        "status": {"stage": "RUNNING", "message": None},
        "owner": {"id": namespace, "name": namespace, "type": "user" if namespace == request.user else "org"},
        "initiator": {"id": request.user, "name": request.user, "type": "user"},
    }
    request.hub.jobs[id_] = job
    return Answer(body=job)


@route("GET", "/api/jobs/hardware")
def hardware(request: Request) -> Answer:
    return Answer(body=[])


@route("GET", "/api/jobs/{namespace}")
def jobs(request: Request) -> Answer:
    _check_member(request)
    namespace = request.names["namespace"]
    return Answer(body=[job for job in request.hub.jobs.values() if job["owner"]["name"] == namespace])


@route("GET", "/api/jobs/{namespace}/{job}")
def job(request: Request) -> Answer:
    return Answer(body=_job(request))


@route("POST", "/api/jobs/{namespace}/{job}/cancel")
def cancel_job(request: Request) -> Answer:
    found = _job(request)
    found["status"] = {"stage": "CANCELED", "message": None}
    return Answer(body=found)


@route("GET", "/api/jobs/{namespace}/{job}/logs")
def logs(request: Request) -> Answer:
    _job(request)
    return Answer(body=b"", headers={"Content-Type": "text/event-stream"})


def _job(request: Request) -> dict:
    _check_member(request)
    try:
        return request.hub.jobs[request.names["job"]]
    except KeyError:
        raise Refusal(404, "Job not found") from None


def _check_member(request: Request) -> None:
    if not belongs(request, request.names["namespace"]):
        raise Refusal(403, f"You are not a member of {request.names['namespace']}")
