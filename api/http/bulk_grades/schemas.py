"""The shapes of what is taken and answered about files of grades, as they are described."""

from typing import Annotated

from pydantic import Field, WithJsonSchema

from api.http.schemas import Closed, Moment

CsvFile = Annotated[str, WithJsonSchema({"type": "string", "format": "binary"})]


class GivenGrades(Closed):
    """A file of grades, or the number of an upload that is asked about."""

    csv: CsvFile = Field("", description="UTF-8, at most 2 MiB.")
    result_id: str = Field("", description="Of an upload that was answered before.")


class ImportOutcome(Closed):
    """What became of a file of grades."""

    total: int = Field(description="Rows of the file.")
    processed: int = Field(description="Those that asked for something.")
    saved: int = Field(description="Those that were saved.")
    error_rows: list[dict[str, str]] = Field(
        description="The rows that failed, by column, with status and error."
    )
    error_messages: list[str] = Field(
        description="What is wrong, with the lines; when empty all was saved."
    )
    percentage: str = Field(description="Saved of all rows, such as 100.0%.")
    can_commit: bool = Field(description="Whether the file asked for something and had no errors.")
    result_id: str | None = Field(description="To ask for this answer again.")
    saved_error_id: int | None = Field(
        description="The error_id to export rows with; null where none failed."
    )
    waiting: bool = Field(description="Never: the answer comes when all is done.")


class ImportCounts(Closed):
    """How many rows an upload had."""

    total_rows: int
    processed_rows: int
    saved_rows: int
    error_message: str = Field("", description="The first thing that was wrong, if anything was.")


class ImportEntry(Closed):
    """An upload."""

    id: int = Field(description="The error_id to export its rows with.")
    class_name: str
    unique_id: str = Field(description="The course.")
    operation: str
    user: str | None
    modified: Moment
    original_filename: str
    data: ImportCounts
