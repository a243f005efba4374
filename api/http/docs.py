"""The description of the interfaces as one page that needs nothing from anywhere else."""

import json
from html import escape
from typing import Any, Final

Document = dict[str, Any]

_STYLE: Final = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; }
section { border-top: 1px solid #8886; margin-top: 2rem; }
code, pre { font: 14px/1.4 ui-monospace, monospace; }
pre { background: #8881; overflow-x: auto; padding: .5rem; }
table { border-collapse: collapse; width: 100%; }
td, th { border-bottom: 1px solid #8884; padding: .25rem .5rem; text-align: left; vertical-align: top; }
.method { border-radius: .25rem; background: #36c; color: #fff; padding: .1rem .5rem; }
"""


def page(document: Document) -> bytes:
    """The page about an OpenAPI document."""
    info = document["info"]
    operations = [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    parts = [
        (
            f"<!doctype html><html lang=en><head><meta charset=utf-8><title>{escape(info['title'])}"
            f"</title><meta name=viewport content='width=device-width'><style>{_STYLE}</style></head>"
            f"<body><h1>{escape(info['title'])} {escape(info['version'])}</h1>"
        ),
        *(f"<p>{escape(text)}</p>" for text in info["description"].split("\n\n")),
        "<p>The same for machines: <a href=openapi.json>openapi.json</a></p>",
    ]
    for tag in document["tags"]:
        parts.append(f"<h2>{escape(tag['name'])}</h2><p>{escape(tag['description'])}</p><ul>")
        mine = [entry for entry in operations if tag["name"] in entry[2]["tags"]]
        parts += [
            f"<li><a href='#{operation['operationId']}'><code>{method.upper()} {escape(path)}"
            f"</code></a> {escape(operation['summary'])}</li>"
            for path, method, operation in mine
        ]
        parts.append("</ul>")
        parts += [_operation(document, *entry) for entry in mine]
    parts.append("<h2>Schemas</h2>")
    parts += [
        f"<section id='schema-{escape(name)}'><h3>{escape(name)}</h3>{_json(schema)}</section>"
        for name, schema in sorted(document["components"]["schemas"].items())
    ]
    parts.append("</body></html>")
    return "".join(parts).encode()


def _operation(document: Document, path: str, method: str, operation: Document) -> str:
    parts = [
        (
            f"<section id='{operation['operationId']}'><h3><span class=method>{method.upper()}</span>"
            f" <code>{escape(path)}</code></h3><p>{escape(operation['summary'])}"
            f" {escape(operation.get('description', ''))}</p>"
        ),
    ]
    if operation["parameters"]:
        parts.append("<table><tr><th>parameter<th>in<th>type<th>meaning</tr>")
        parts += [_parameter(parameter) for parameter in operation["parameters"]]
        parts.append("</table>")
    if "requestBody" in operation:
        parts.append("<h4>Body</h4>")
        parts += [_content(operation["requestBody"]["content"])]
    parts.append("<h4>Answers</h4><table>")
    for status, answer in operation["responses"].items():
        known = answer
        if "$ref" in answer:
            known = document["components"]["responses"][answer["$ref"].rsplit("/", 1)[1]]
        content = "" if known is not answer else _content(known.get("content", {}))
        parts.append(f"<tr><td>{status}<td>{escape(known['description'])}{content}</tr>")
    parts.append("</table></section>")
    return "".join(parts)


def _parameter(parameter: Document) -> str:
    schema = {name: value for name, value in parameter["schema"].items() if name != "title"}
    needed = " (required)" if parameter["required"] else ""
    return (
        f"<tr><td><code>{escape(parameter['name'])}</code>{needed}<td>{parameter['in']}"
        f"<td><code>{escape(json.dumps(schema))}</code><td>{escape(parameter['description'])}</tr>"
    )


def _content(content: Document) -> str:
    return "".join(
        f"<div><code>{escape(media_type)}</code>{_json(described['schema'])}</div>"
        for media_type, described in content.items()
    )


def _json(schema: Document) -> str:
    return f"<pre>{escape(json.dumps(schema, indent=1, ensure_ascii=False))}</pre>"
