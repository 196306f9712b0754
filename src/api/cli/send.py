"""`interalpha send`: one real message through the whole pipeline, followed until it has arrived."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import rich_click as click

from api.cli.client import Api, NotAllowed, ask_with_waits, call, url_option
from api.cli.message_input import (
    ACCEPTED,
    MESSAGE,
    Progress,
    check_choice,
    delivery,
    delivery_options,
    first_line,
    masked,
    naming_options,
    recipient,
    template_content,
    template_options,
)
from api.cli.options import TextLastCommand, TextOrStdin, Utf8Text
from api.cli.terminal import Exit, Failure, json_option, print_json, screen

COMMANDS = {"send": ("command", "Send one message through the API and follow it until it is delivered.", 40)}

WAIT_SECONDS = 30.0

_SEND = f"""
mutation Send($input: SendMessageInput!) {{
  sendMessage(input: $input) {{
    isReplay
    message {{ {ACCEPTED} }}
    errors {{
      __typename ... on UserError {{ message path }} ... on InvalidInputError {{ rule }}
      ... on TemplateNotUsableError {{ missingVariables }}
    }}
  }}
}}
"""
_FOLLOW = f"""
subscription Follow($ids: [ID!]!) {{
  messageStatusChanged(filter: {{ids: $ids}}) {{ message {{ {MESSAGE} }} }}
}}
"""
Command = TypeVar("Command", bound=Callable[..., Any])


def _with_options(command: Command) -> Command:
    for option in (
        click.option("--no-wait", is_flag=True, help="Return once it is queued."),
        url_option,
        json_option,
        naming_options,
        delivery_options,
    ):
        command = option(command)
    return command


@click.group()
def command() -> None:
    """Send one message through the API and follow it until it is delivered."""


@command.command(cls=TextLastCommand)
@click.argument("to", type=Utf8Text())
@click.argument("text", type=TextOrStdin(), required=False)
@template_options
@_with_options
def sms(to: str, text: str | None, **options: Any) -> None:
    """Send TEXT, or a template, to the telephone number TO, and wait until it is delivered.

    Spaces and dashes in the number are fine: "+55 11 98765-4321".
    """
    _send_text(to, text, "SMS", **options)


@command.command(cls=TextLastCommand)
@click.argument("to", type=Utf8Text())
@click.argument("text", type=TextOrStdin(), required=False)
@template_options
@_with_options
def whatsapp(to: str, text: str | None, **options: Any) -> None:
    """Send TEXT, or a template, over WhatsApp to the telephone number TO, and wait until it is delivered.

    Free text is let through within a day of the last message its owner wrote to you, an approved template always.
    """
    _send_text(to, text, "WHATSAPP", **options)


@command.command(cls=TextLastCommand)
@click.argument("to", type=Utf8Text())
@click.argument("text", type=TextOrStdin(), required=False)
@click.option("--subject", type=Utf8Text(), help="The subject (default: the beginning of TEXT).")
@click.option("--html", type=TextOrStdin(), help="The same as HTML; - reads it from standard input, as TEXT does.")
@template_options
@_with_options
def email(to: str, text: str | None, subject: str | None, html: str | None, **options: Any) -> None:
    """Send TEXT, or a template, to the address TO, and wait until the mail server has taken it.

    A TEXT of - is read from standard input: `… send email ana@example.com - --subject Contrato < contrato.txt`.
    """
    message = {"to": {"email": to}}
    check_choice(text, options["template"], options["locale"], options["pairs"])
    if text is None:
        if subject or html:
            raise click.UsageError("A template has a subject and bodies of its own: leave --subject and --html out.")
        _send(message, "EMAIL", **options)
        return
    if not (text.strip() or (subject and html)):
        raise click.UsageError("TEXT is empty: write something, or give both --subject and --html.")
    subject = subject or first_line(text)
    bodies = {"plainText": text if text.strip() else None, "html": html}
    content = {"subject": subject} | {name: body for name, body in bodies.items() if body}
    _send({**message, "content": {"email": content}}, "EMAIL", **options)


def _send_text(to: str, text: str | None, channel: str, **options: Any) -> None:
    check_choice(text, options["template"], options["locale"], options["pairs"])
    if text is not None and not text.strip():
        raise click.UsageError("TEXT is empty: there is nothing to send.")
    content = {} if text is None else {"content": {"text": text}}
    # A person who hides the number on WhatsApp is given by an id.
    whom = recipient(to) if channel == "WHATSAPP" else {"phone": to}
    _send({"to": whom, **content}, channel, **options)


def _send(
    given: dict[str, Any],
    channel: str,
    *,
    template: str | None,
    locale: str | None,
    pairs: Sequence[tuple[str, str]],
    idempotency_key: str | None,
    external_id: str | None,
    as_json: bool,
    url: str | None,
    no_wait: bool,
    **when: Any,
) -> None:
    names = {"idempotencyKey": idempotency_key, "externalId": external_id}
    given |= delivery(channel, **when) | {name: value for name, value in names.items() if value is not None}
    progress = Progress(None if as_json else screen())

    accepted: list[str] = []

    async def work(api: Api) -> dict[str, Any]:
        if template is not None:
            given["content"] = await template_content(api, channel, template, locale, pairs)
        payload: dict[str, Any] = (await ask_with_waits(api, _SEND, {"input": given}))["sendMessage"]
        if payload["message"] is not None:
            accepted.append(payload["message"]["id"])
            progress.accept(payload["message"], is_replay=payload["isReplay"])
            if not no_wait:
                payload["message"] = await _wait(api, payload["message"], progress)
        return payload

    try:
        payload = call(url, work)
    except KeyboardInterrupt:
        if not accepted:
            raise
        words = f"It was accepted and will be sent: `interalpha messages show {accepted[0]}`."
        raise Failure(words) from None
    _conclude(payload, as_json=as_json)


def _conclude(payload: dict[str, Any], *, as_json: bool) -> None:
    """Print what there is to print, and end with status 1 where it was refused or failed."""
    message, errors = payload["message"], payload["errors"]
    if as_json:
        print_json(payload | {"message": message and masked(message)})
    elif errors:
        raise Failure("\n✗ ".join(_words(error) for error in errors))
    elif message is None:
        click.echo("✓ It would be accepted. Nothing was sent.")
    if errors or (message is not None and message["status"] == "FAILED"):
        raise SystemExit(Exit.FAILED)


async def _wait(api: Api, message: dict[str, Any], progress: Progress) -> dict[str, Any]:
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            async for data in api.follow(_FOLLOW, {"ids": [message["id"]]}):
                message = data["messageStatusChanged"]["message"]
                if progress.show(message):
                    return message
    except NotAllowed as error:
        raise Failure(f"It was accepted, but its status cannot be shown: {error} Use --no-wait to skip this.") from None
    except TimeoutError:
        raise Failure(
            f"It is {message['status'].lower()} still, after {WAIT_SECONDS:.0f} s. "
            f"`interalpha messages show {message['id']}` says more."
        ) from None
    raise Failure("The server ended the stream. `interalpha messages list` says what became of the message.")


def _words(error: Mapping[str, Any]) -> str:
    kind = error["__typename"].removesuffix("Error")
    return f"{kind} at {'.'.join(error['path'] or ['input'])}: {error['message']}"
