"""The shapes of bodies and results about people, as they are described to callers."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

Moment = Annotated[datetime, WithJsonSchema({"type": "string", "format": "date-time"})]


class Closed(BaseModel):
    """An object without further members."""

    model_config = ConfigDict(extra="forbid")


# --- users ------------------------------------------------------------------------------------


class ExternalUserKey(BaseModel):
    """Under which key a programme knows a user in a course."""

    course_id: str = Field(min_length=1, max_length=255)
    external_user_key: str = Field(max_length=255)
    status: Literal["active", "inactive"] = "active"


class GivenUser(Closed):
    """What a user shall be; what is left out or null stays as it is."""

    user_id: int | None = Field(
        None,
        ge=1,
        le=2**53 - 1,
        description="The next free number when left out; never changes.",
    )
    email: str | None = Field(None, max_length=254, description="Empty for none.")
    full_name: str | None = Field(None, max_length=255, description="Empty for none.")
    anonymous_ids: list[str] | None = Field(
        None, max_length=1000, description="All ids under which the user's work is stored."
    )
    external_user_keys: dict[str, str] | list[ExternalUserKey] | None = Field(
        None, description="Keys by course, or a list; those of other courses stay."
    )
    is_staff: bool | None = Field(None, description="May do everything.")
    is_active: bool | None = None


class Role(Closed):
    """A role in a course, or in all courses of an organisation without ``course_id``."""

    org: str
    course_id: str | None
    role: str


class User(Closed):
    """A user."""

    user_id: int
    username: str
    email: str | None = Field(description="Null for none, and for who was erased.")
    full_name: str | None
    is_active: bool
    is_staff: bool
    anonymous_ids: list[str]
    external_user_keys: list[ExternalUserKey]
    roles: list[Role]
    registered_at: Moment


class HeldRole(Closed):
    """A role that a user has."""

    username: str
    role: str
    org: str
    course_id: str | None


# --- enrolments -------------------------------------------------------------------------------


class CourseDetails(BaseModel):
    """In which course."""

    course_id: str


class GivenEnrollment(BaseModel):
    """Who shall be in which course; other members are ignored, as in Open edX."""

    user: str | None = Field(None, description="The caller when left out.")
    mode: str | None = Field(None, description="The track; stays, or is audit, when left out.")
    is_active: bool | None = Field(None, description="False ends the enrolment.")
    course_details: CourseDetails


class CourseMode(Closed):
    """A track of a course."""

    slug: str
    name: str
    min_price: int
    suggested_prices: str
    currency: str
    expiration_datetime: Moment | None
    description: str | None
    sku: str | None
    bulk_sku: str | None


class EnrollmentCourse(Closed):
    """A course as those see it who enrol."""

    course_id: str
    course_name: str
    enrollment_start: Moment | None
    enrollment_end: Moment | None
    course_start: Moment | None
    course_end: Moment | None
    invite_only: bool
    course_modes: list[CourseMode]
    pacing_type: str


class Enrollment(Closed):
    """An enrolment."""

    created: Moment
    mode: str
    is_active: bool
    course_details: EnrollmentCourse
    user: str


class CallerRoles(Closed):
    """What the caller is, and where."""

    roles: list[Role]
    is_staff: bool


class EnrollmentRefusal(BaseModel):
    """Why it was refused, in the shape of Open edX."""

    message: str | None = Field(None, description="Of what is wrong with an enrolment.")
    detail: str | None = Field(None, description="Of everything else.")


# --- cohorts ----------------------------------------------------------------------------------


class CohortSettings(Closed):
    """Whether a course uses cohorts."""

    is_cohorted: bool


class GivenCohort(BaseModel):
    """A new cohort."""

    name: str = Field(min_length=1, max_length=255)
    assignment_type: Literal["manual", "random"]
    user_partition_id: int | None = Field(None, ge=0)
    group_id: int | None = Field(None, ge=0)


class CohortChanges(BaseModel):
    """What shall change; what is left out stays, and null for both numbers means no group."""

    name: str | None = Field(None, min_length=1, max_length=255)
    assignment_type: Literal["manual", "random"] | None = None
    user_partition_id: int | None = Field(None, ge=0)
    group_id: int | None = Field(None, ge=0)


class Cohort(Closed):
    """A cohort."""

    id: int
    name: str
    user_count: int
    assignment_type: Literal["manual", "random"]
    user_partition_id: int | None
    group_id: int | None


class CohortList(Closed):
    """All cohorts of a course, as older front ends read them."""

    cohorts: list[Cohort]


class CohortPage(Closed):
    """A part of the cohorts of a course."""

    next: str | None
    previous: str | None
    count: int
    num_pages: int
    current_page: int
    start: int
    results: list[Cohort]


class GivenMembers(BaseModel):
    """Who shall be in a cohort."""

    users: list[str] | str = Field(description="User names; one text is one of them.")


class NewMember(Closed):
    """A user who came into a cohort."""

    email: str | None
    username: str


class MovedMember(NewMember):
    """A user who came from another cohort of the course."""

    previous_cohort: str


class MembersAdded(Closed):
    """What became of each."""

    success: Literal[True]
    added: list[NewMember]
    changed: list[MovedMember]
    present: list[str] = Field(description="In it already.")
    unknown: list[str] = Field(description="Nobody is called so.")
    preassigned: list[str] = Field(description="Always empty.")
    invalid: list[str] = Field(description="No name and no address.")


class Member(Closed):
    """A user in a cohort."""

    email: str | None
    name: str | None
    username: str


class MemberPage(Closed):
    """A part of the users in a cohort."""

    next: str | None
    previous: None
    results: list[Member]


class GivenFile(BaseModel):
    """A table of users and their cohorts."""

    uploaded_file: Annotated[bytes, WithJsonSchema({"type": "string", "format": "binary"})] = Field(
        alias="uploaded-file", description="CSV: cohort, and username or email or both."
    )


class DeveloperRefusal(BaseModel):
    """Why it was refused, in the shape of Open edX."""

    developer_message: str | None = None
    error_code: str | None = None
    field_errors: dict[str, dict[str, str]] | None = None
