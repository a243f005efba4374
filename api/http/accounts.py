"""What pages of other sites ask about somebody's account, and how they are set up.

Source: Open edX, the accounts interface of user_api and mfe_config_api. Members that have
no meaning here are null, so that pages find them.
"""

from typing import Any, Final

from starlette.responses import Response

from api.http import cookies
from api.http.calls import Call
from api.http.grades.permissions import is_global_staff
from api.http.learner_access import rights_of
from api.http.reading import ask, result
from api.http.responses import dumps, read
from api.http.routing import Answers, Operation, Parameter
from api.http.session_schemas import Account
from api.http.submissions import IF_NONE_MATCH, MIN_POSITION
from domain.errors import NotFoundError
from projections.gradebook.queries import user_by_username

TAG: Final = "accounts"

NO_IMAGE: Final = {
    "has_image": False,
    "image_url_full": None,
    "image_url_large": None,
    "image_url_medium": None,
    "image_url_small": None,
}
UNKNOWN_HERE: Final = (
    "bio",
    "country",
    "course_certificates",
    "gender",
    "goals",
    "last_login",
    "level_of_education",
    "mailing_address",
    "phone_number",
    "secondary_email",
    "state",
    "time_zone",
    "verified_name",
    "year_of_birth",
)


async def get_account(call: Call) -> Response:
    """One account: everything for its owner and for global staff, else what is public."""
    call.query()
    username = call.path_text("username")
    found = await ask(call, user_by_username(username))
    person = found.value
    if person is None:
        raise NotFoundError(f"there is no user {username}")
    public = {
        "username": person.username,
        "profile_image": NO_IMAGE,
        "account_privacy": "private",
    }
    if person.username != call.caller.username and not is_global_staff(
        call.caller, await rights_of(call)
    ):
        return result(call, public, found.position)
    whole: dict[str, Any] = {
        **dict.fromkeys(UNKNOWN_HERE),
        **public,
        "id": person.user_id,
        "name": person.full_name or "",
        "email": person.email or "",
        "is_active": person.is_active,
        "date_joined": person.registered_at,
        "language_proficiencies": [],
        "social_links": [],
        "extended_profile": [],
        "accomplishments_shared": False,
        "requires_parental_consent": False,
    }
    return result(call, whole, found.position)


async def get_mfe_config(call: Call) -> Response:
    """How a page of another site is set up to call here."""
    config, base = call.config, cookies.base_of(call).url
    application = call.query().get("mfe", "")
    document = {
        "ACCESS_TOKEN_COOKIE_NAME": config.payload_cookie,
        "CSRF_TOKEN_API_PATH": "/csrf/api/v1/token",
        "LANGUAGE_PREFERENCE_COOKIE_NAME": "openedx-language-preference",
        "LMS_BASE_URL": base,
        "LOGIN_URL": config.login_url or f"{base}/login",
        "LOGOUT_URL": config.logout_url or f"{base}/logout",
        "REFRESH_ACCESS_TOKEN_ENDPOINT": config.refresh_url or f"{base}/login_refresh",
        "SITE_NAME": config.site_name,
        "USER_INFO_COOKIE_NAME": "edx-user-info",
        **config.mfe_config,
        **config.mfe_overrides.get(application, {}),
    }
    response = read(dumps(document), 0, call.raw.get(b"if-none-match"))
    del response.headers["X-Log-Position"]
    return response


OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/api/user/v1/accounts/{username}",
        handler=get_account,
        operation_id="getAccount",
        tag=TAG,
        summary="The account of a user.",
        path_descriptions={"username": "Of the user."},
        parameters=(MIN_POSITION, IF_NONE_MATCH),
        answers={
            200: Answers(
                "All of it for its owner and for global staff, else what is public.",
                Account,
                headers=("X-Log-Position", "ETag"),
            ),
            304: Answers("The answer at hand is the same.", headers=("X-Log-Position", "ETag")),
        },
        problems=(400, 401, 403, 404, 503),
    ),
    Operation(
        method="GET",
        path="/api/mfe_config/v1",
        handler=get_mfe_config,
        operation_id="getMfeConfig",
        tag=TAG,
        summary="How a page of another site is set up to call here.",
        public=True,
        parameters=(Parameter("mfe", "The name of the application."), IF_NONE_MATCH),
        answers={
            200: Answers("Names of settings and their values.", dict[str, Any], headers=("ETag",)),
            304: Answers("The answer at hand is the same.", headers=("ETag",)),
        },
        problems=(400,),
    ),
)
