"""Who may do what: the settings in force, and tokens for development."""

from dataclasses import dataclass
from typing import Annotated, Final

import typer

from infra.cli.output import USAGE, CommandError, Json, print_json, print_table

DAY: Final = 86_400


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(settings)
    app.command()(token)


def settings(*, as_json: Json = False) -> None:
    """Print the settings in force and where each comes from. Secrets are masked."""
    from infra.settings import effective, read_settings

    found = effective(read_settings())
    if as_json:
        print_json([one._asdict() for one in found])
        return
    print_table("settings in force", ("setting", "value", "from"), found)


@dataclass(frozen=True, slots=True)
class CourseRole:
    """A role in a course, as it stands on the command line."""

    role: str
    course_id: str


def course_role(text: str) -> CourseRole:
    """Read ``ROLE=COURSE``."""
    from domain.keys import InvalidKeyError, parse_course_key

    role, found, course_id = text.partition("=")
    if not found or not role:
        raise typer.BadParameter(f"{text!r} is not ROLE=COURSE, as in staff=course-v1:Org+C+Run")
    try:
        parse_course_key(course_id)
    except InvalidKeyError as error:
        raise typer.BadParameter(str(error)) from None
    return CourseRole(role, course_id)


def token(
    *,
    username: Annotated[str, typer.Option(help="For whom; the actor of what is done with it.")],
    staff: Annotated[bool, typer.Option("--staff", help="Global staff.")] = False,
    scope: Annotated[
        list[str] | None, typer.Option(help="Of a service, such as submissions:write; repeatable.")
    ] = None,
    course_roles: Annotated[
        list[CourseRole] | None,
        typer.Option(
            "--course-role",
            parser=course_role,
            metavar="ROLE=COURSE",
            help="A role in a course; repeatable.",
        ),
    ] = None,
    user_id: Annotated[int | None, typer.Option(help="Number of the user.")] = None,
    anonymous_id: Annotated[
        list[str] | None,
        typer.Option(help="An id under which the user's own work is stored; repeatable."),
    ] = None,
    expires: Annotated[int, typer.Option(min=1, help="Seconds from now.")] = DAY,
    as_json: Json = False,
) -> None:
    """Sign a token with GRADELOG_JWT_SECRET and print it and nothing else."""
    from api.http.auth import MAX_NAME_LENGTH, issue_token
    from infra.settings import jwt_secret, read_settings

    if not 0 < len(username) <= MAX_NAME_LENGTH:
        raise CommandError(f"a user name has 1 to {MAX_NAME_LENGTH} characters", code=USAGE)
    settings = read_settings()
    secret = jwt_secret(settings)
    if secret is None:
        raise CommandError(
            "tokens are verified with the keys of GRADELOG_JWKS_URL alone, so whoever holds the"
            " private keys must sign them; set GRADELOG_JWT_SECRET to sign some here",
            code=USAGE,
        )
    courses: dict[str, list[str]] = {}
    for one in course_roles or ():
        courses.setdefault(one.role, []).append(one.course_id)
    signed = issue_token(
        secret,
        username=username,
        staff=staff,
        scopes=scope or (),
        course_roles=courses,
        expires=expires,
        user_id=user_id,
        anonymous_ids=anonymous_id or (),
        audience=settings.jwt_audience,
        issuer=settings.jwt_issuer,
    )
    if as_json:
        print_json({"token": signed, "expires_in": expires})
    else:
        typer.echo(signed)
