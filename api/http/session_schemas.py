"""The shapes of what is said about sessions and accounts."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from api.http.schemas import Closed, Moment

_Text = Annotated[str, WithJsonSchema({"type": "string", "pattern": r"^[^\u0000]*$"})]


class Refreshed(Closed):
    """There are new tokens in the cookies."""

    success: bool
    user_id: int
    response_epoch_seconds: float = Field(description="The time here.")
    response_http_date: str
    expires: str
    expires_epoch_seconds: int


class CsrfToken(Closed):
    """What a write with cookies carries."""

    csrfToken: str  # noqa: N815 - the member's name


class LoginForm(BaseModel):
    """What the page to sign in with sends."""

    model_config = ConfigDict(extra="allow")

    username: _Text = ""
    password: _Text = ""
    csrf_token: _Text = Field("", description="As it stands in the page.")
    next: _Text | None = Field(None, description="Where to go afterwards.")


class ProfileImage(Closed):
    """There are none here."""

    has_image: bool
    image_url_full: str | None
    image_url_large: str | None
    image_url_medium: str | None
    image_url_small: str | None


class Account(BaseModel):
    """An account; only name and image for others than its owner and global staff."""

    username: str
    profile_image: ProfileImage
    account_privacy: str
    id: int | None = None
    name: str | None = None
    email: str | None = None
    is_active: bool | None = None
    date_joined: Moment | None = None
    language_proficiencies: list[Any] | None = None
