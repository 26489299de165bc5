"""Who may do what: the checks that the routes make first."""

from .refusal import Refusal, no_repository
from .store import Repository
from .wire import Request


def repository_of(request: Request, types: str = "models") -> Repository:
    """The repository that a route names, if the user may see it; `types` if the route names none."""
    types = request.names.get("types") or types
    return visible(request, types.removesuffix("s"), request.names["repo"])


def visible(request: Request, type_: str, id_: str) -> Repository:
    repository = request.hub.store.find(type_, id_)
    if repository.private and not belongs(request, repository.namespace):
        raise no_repository()
    return repository


def belongs(request: Request, namespace: str) -> bool:
    """Whether a namespace is the user's own, or an organisation of theirs."""
    if request.user is None:
        return False
    return namespace in (request.user, *request.hub.store.users[request.user]["organisations"])


def writable(request: Request, types: str = "models") -> Repository:
    """The repository that a route names, if the user may change it."""
    repository = repository_of(request, types)
    check_write(request, repository.namespace)
    return repository


def check_write(request: Request, namespace: str) -> None:
    if request.user is None:
        raise Refusal(401, "Invalid username or password.")
    if not belongs(request, namespace):
        raise Refusal(403, f"You don't have the rights to write under the namespace {namespace}")
    if request.role != "write":
        raise Refusal(403, "You must use a write token to upload to a repository")


def check_contents(request: Request, repository: Repository) -> None:
    """Files of a gated repository are for those who accepted its conditions."""
    if not repository.gated or belongs(request, repository.namespace):
        return
    page = f"{request.hub.url}/{repository.path}"
    start = f"Access to {repository.type} {repository.id} is restricted"
    if request.user is None:
        text = f"{start}. You must have access to it and be authenticated to access it. Please log in. {page}"
        raise Refusal(401, text, "GatedRepo")
    if request.user not in repository.accepted:
        text = f"{start} and you are not in the authorized list. Visit {page} to ask for access."
        raise Refusal(403, text, "GatedRepo")
