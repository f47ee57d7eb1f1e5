from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from google import genai
from google.genai import types
from hypothesis import given

import google_sdk
from exchanges import Exchange, corpus
from midstream.conversation import (
    Conversation,
    Inexpressible,
    MediaPart,
    Message,
    OutputFormat,
    Part,
    ReasoningPart,
    ReasoningSettings,
    TextPart,
    Tool,
    ToolChoice,
    ToolResultPart,
    ToolUsePart,
    Written,
)
from midstream.dialects.gemini.request import read_conversation, write_request
from midstream.dialects.gemini.writing import NO_SIGNATURE

PATH = "/v1beta/models/gemini-2.5-flash:streamGenerateContent"
HI = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
USER = Message("user", (TextPart("hi"),))
PNG = "iVBORw0KGgoAAAANSUhEUg=="


def conversation(*messages: Message, model: str = "gemini-3-flash", **more: Any) -> Conversation:
    return Conversation(model=model, messages=messages or (USER,), dialect=more.pop("dialect", "openai_chat"), **more)


def write(*messages: Message, **more: Any) -> Written:
    return write_request(conversation(*messages, **more))


def config(**more: Any) -> Any:
    return write(**more).body["generationConfig"]


def said(*parts: Part, role: Any = "user") -> Message:
    return Message(role, parts)


def test_a_minimal_request() -> None:
    assert write() == Written("/models/gemini-3-flash:streamGenerateContent?alt=sse", HI)
    assert write(stream=False).path == "/models/gemini-3-flash:generateContent"


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("models/gemini-3", "/models/gemini-3:"),
        ("tunedModels/mine", "/tunedModels/mine:"),
        ("a?b#c", "/models/a%3Fb%23c:"),
    ],
)
def test_the_model_is_in_the_path(model: str, path: str) -> None:
    assert write(model=model).path.startswith(path)
    back = read_conversation("/v1beta" + write(model=model).path.partition("?alt")[0], dict(HI))
    assert back.model == model.removeprefix("models/")


def test_system_messages_become_the_one_instruction() -> None:
    written = write(said(TextPart("a"), role="system"), USER, said(TextPart("b"), role="system"))
    assert written.body["systemInstruction"] == {"parts": [{"text": "a"}, {"text": "b"}]}
    assert written.body["contents"] == HI["contents"]
    assert written.dropped == ("the place of a system message",)


def test_a_conversation_of_system_messages_alone_is_a_users() -> None:
    assert write(said(TextPart("a"), role="system")).body == {"contents": [{"role": "user", "parts": [{"text": "a"}]}]}


def test_images_inline_and_by_url() -> None:
    parts = (MediaPart("image", data=PNG), MediaPart("image", url="https://x.test/a.webp?b", detail="low"))
    written = write(said(*parts))
    assert written.body["contents"][0]["parts"] == [
        {"inlineData": {"mimeType": "image/png", "data": PNG}},
        {"fileData": {"mimeType": "image/webp", "fileUri": "https://x.test/a.webp?b"}},
    ]
    assert written.dropped == ("image detail",)


def test_a_file_that_only_another_provider_has_rules_gemini_out() -> None:
    with pytest.raises(Inexpressible, match=r"plan\.pdf"):
        write(said(MediaPart("file", name="plan.pdf")))


CALLS = (
    USER,
    said(TextPart(""), ToolUsePart("c1", "f", '{"a": 1}'), ToolUsePart("c2", "g", ""), role="assistant"),
    said(ToolResultPart("c1", (TextPart("5"),))),
    said(ToolResultPart("c2", (TextPart('{"b": 2}'),), is_error=False)),
)


def test_calls_and_results_match_by_name_and_stand_together() -> None:
    contents = write(*CALLS, model="gemini-2.5-pro").body["contents"][1:]
    assert contents == [
        {
            "role": "model",
            "parts": [
                {"functionCall": {"id": "c1", "name": "f", "args": {"a": 1}}},
                {"functionCall": {"id": "c2", "name": "g", "args": {}}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"id": "c1", "name": "f", "response": {"output": "5"}}},
                {"functionResponse": {"id": "c2", "name": "g", "response": {"b": 2}}},
            ],
        },
    ]


def test_the_newest_models_get_a_stand_in_for_the_signature_of_anothers_first_call() -> None:
    parts = write(*CALLS, model="gemini-3-pro").body["contents"][1]["parts"]
    assert [part.get("thoughtSignature") for part in parts] == [NO_SIGNATURE, None]


def test_an_error_and_an_image_from_a_tool() -> None:
    call = said(ToolUsePart("c", "f", "{}"), role="assistant")
    result = said(ToolResultPart("c", (TextPart("no"), MediaPart("image", "image/png", "QQ==")), is_error=True))
    image = {"inlineData": {"mimeType": "image/png", "data": "QQ=="}}
    response: Any = {"id": "c", "name": "f", "response": {"error": "no"}}
    newest, older = (write(call, result, model=m).body["contents"][1]["parts"] for m in ("gemini-3", "gemini-2.5-pro"))
    assert newest == [{"functionResponse": {**response, "parts": [image]}}]
    assert older == [{"functionResponse": response}, image]


def test_a_result_without_its_call_rules_gemini_out() -> None:
    with pytest.raises(Inexpressible, match="without its call"):
        write(said(ToolResultPart("c", ())))


@pytest.mark.parametrize("arguments", ["[1]", '{"a":', "x"])
def test_arguments_that_are_no_object_rule_gemini_out(arguments: str) -> None:
    with pytest.raises(Inexpressible, match="arguments"):
        write(said(ToolUsePart("c", "f", arguments), role="assistant"))


def test_signatures_are_resent_to_gemini_alone() -> None:
    own = said(ReasoningPart("", "sig", "gemini"), ToolUsePart("gemini_call_1", "f", "{}"), role="assistant")
    foreign = said(ReasoningPart("hm", "sig", "anthropic_messages"), TextPart("a"), role="assistant")
    written = write(USER, own, foreign)
    assert written.body["contents"][1:] == [
        {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}, "thoughtSignature": "sig"}]},
        {"role": "model", "parts": [{"text": "a"}]},
    ]
    assert written.dropped == ("reasoning of earlier turns",)


def test_a_signature_that_comes_last_has_a_part_of_its_own() -> None:
    message = said(ReasoningPart("t", "s1", "gemini"), ReasoningPart("", "s2", "gemini"), role="assistant")
    assert write(message).body["contents"][0]["parts"] == [
        {"text": "t", "thought": True, "thoughtSignature": "s1"},
        {"text": "", "thoughtSignature": "s2"},
    ]


SCHEMA: Mapping[str, Any] = {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {}}}
TOOL = Tool("f", "does f", SCHEMA)


def test_tools_keep_their_json_schema() -> None:
    declared = [{"name": "f", "description": "does f", "parametersJsonSchema": SCHEMA}, {"name": "g"}]
    assert write(tools=(TOOL, Tool("g"))).body["tools"] == [{"functionDeclarations": declared}]


@pytest.mark.parametrize(
    ("choice", "calling"),
    [
        (ToolChoice("auto"), {"mode": "AUTO"}),
        (ToolChoice("none"), {"mode": "NONE"}),
        (ToolChoice("required"), {"mode": "ANY"}),
        (ToolChoice("named", "f"), {"mode": "ANY", "allowedFunctionNames": ["f"]}),
    ],
)
def test_tool_choice_both_ways(choice: ToolChoice, calling: Any) -> None:
    body = write(tools=(TOOL,), tool_choice=choice).body
    assert body["toolConfig"] == {"functionCallingConfig": calling}
    assert read_conversation(PATH, dict(body)).tool_choice == choice


def test_strict_tools_are_validated() -> None:
    body = write(tools=(replace(TOOL, strict=True),)).body
    assert body["toolConfig"] == {"functionCallingConfig": {"mode": "VALIDATED"}}
    assert read_conversation(PATH, dict(body)).tools[0].strict


def test_sampling_and_limits() -> None:
    written = write(
        max_tokens=9,
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        seed=3,
        presence_penalty=0.1,
        frequency_penalty=0.2,
        stop=("a", "b"),
        choices=2,
        user="u",
        parallel_tool_calls=False,
    )
    assert written.body["generationConfig"] == {
        "maxOutputTokens": 9,
        "temperature": 0.5,
        "topP": 0.9,
        "topK": 40,
        "seed": 3,
        "presencePenalty": 0.1,
        "frequencyPenalty": 0.2,
        "stopSequences": ["a", "b"],
        "candidateCount": 2,
    }
    assert written.dropped == ("parallel_tool_calls", "user")


def test_more_stop_sequences_than_gemini_takes_rule_it_out() -> None:
    with pytest.raises(Inexpressible, match="5 stop"):
        write(stop=tuple("abcdef"))


def test_response_formats() -> None:
    assert config(output_format=OutputFormat("json_object")) == {"responseMimeType": "application/json"}
    assert config(output_format=OutputFormat("json_schema", SCHEMA, "x")) == {
        "responseMimeType": "application/json",
        "responseJsonSchema": SCHEMA,
    }


def test_a_response_format_beside_tools_needs_the_newest_models() -> None:
    with pytest.raises(Inexpressible, match="together"):
        write(model="gemini-2.5-pro", tools=(TOOL,), output_format=OutputFormat("json_object"))
    assert write(model="gemini-3-pro", tools=(TOOL,), output_format=OutputFormat("json_object")).body["tools"]


@pytest.mark.parametrize(
    ("model", "settings", "thinking"),
    [
        ("gemini-2.5-flash", ReasoningSettings("none"), {"thinkingBudget": 0}),
        ("gemini-2.5-pro", ReasoningSettings("none"), {"thinkingBudget": 128}),
        ("gemini-2.5-pro", ReasoningSettings("high", summary=True), {"includeThoughts": True, "thinkingBudget": 24576}),
        ("gemini-2.5-flash", ReasoningSettings(budget=99999), {"thinkingBudget": 24576}),
        ("gemini-3-flash", ReasoningSettings("minimal"), {"thinkingLevel": "MINIMAL"}),
        ("gemini-3-pro", ReasoningSettings("minimal"), {"thinkingLevel": "LOW"}),
        ("gemini-3-pro", ReasoningSettings("xhigh"), {"thinkingLevel": "HIGH"}),
        ("gemini-flash-latest", ReasoningSettings(budget=4096), {"thinkingLevel": "MEDIUM"}),
        ("gemini-3-pro", ReasoningSettings(summary=False), {"includeThoughts": False}),
    ],
)
def test_reasoning_in_the_words_of_each_generation(model: str, settings: ReasoningSettings, thinking: Any) -> None:
    assert config(model=model, reasoning=settings) == {"thinkingConfig": thinking}


def test_models_that_cannot_think_are_not_asked_to() -> None:
    written = write(model="gemini-2.0-flash", reasoning=ReasoningSettings("high"))
    assert ("generationConfig" in written.body, written.dropped) == (False, ("reasoning",))


def test_another_dialects_extras_are_dropped_and_its_own_tools_rule_gemini_out() -> None:
    assert write(extras={"logit_bias": {"1": 2}}).dropped == ("logit_bias",)
    with pytest.raises(Inexpressible, match="tools"):
        write(extras={"tools": [{"type": "web_search"}]})


def test_both_spellings_of_a_field_are_read() -> None:
    body = {
        "system_instruction": {"parts": [{"text": "s"}]},
        "contents": [{"parts": [{"inline_data": {"mime_type": "image/png", "data": "QQ=="}}]}],
        "generation_config": {
            "max_output_tokens": 5,
            "stop_sequences": ["x"],
            "response_mime_type": "application/json",
        },
        "tools": [{"function_declarations": [{"name": "f", "parameters_json_schema": SCHEMA}]}],
        "tool_config": {"function_calling_config": {"mode": "any", "allowed_function_names": ["f"]}},
    }
    read = read_conversation(PATH, body)
    assert read.messages == (
        said(TextPart("s"), role="system"),
        said(MediaPart("image", "image/png", "QQ==")),
    )
    assert (read.max_tokens, read.stop, read.output_format) == (5, ("x",), OutputFormat("json_object"))
    assert (read.tools, read.tool_choice) == ((Tool("f", "", SCHEMA),), ToolChoice("named", "f"))
    assert write_request(read).body == body


def test_calls_without_ids_get_ids_that_are_not_sent() -> None:
    contents = [
        {
            "role": "model",
            "parts": [{"functionCall": {"name": "f"}}, {"functionCall": {"name": "f", "args": {"a": 1}}}],
        },
        {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"output": "x"}}}]},
    ]
    read = read_conversation(PATH, {"contents": contents})
    first, second = read.messages[0].parts
    (result,) = read.messages[1].parts
    assert isinstance(first, ToolUsePart)
    assert isinstance(second, ToolUsePart)
    assert isinstance(result, ToolResultPart)
    assert first.id == result.id != second.id
    assert '"id"' not in json.dumps(write_request(replace(read, extras={})).body)


def test_a_subset_of_tools_that_may_be_called_is_all_there_are() -> None:
    body = {
        **HI,
        "tools": [{"functionDeclarations": [{"name": n} for n in "fgh"]}],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f", "g"]}},
    }
    read = read_conversation(PATH, body)
    assert ([tool.name for tool in read.tools], read.tool_choice) == (["f", "g"], ToolChoice("required"))


def test_code_that_google_ran_is_read_as_text() -> None:
    code = {"executableCode": {"language": "PYTHON", "code": "1+1"}}
    result = {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "2"}}
    read = read_conversation(PATH, {"contents": [{"role": "model", "parts": [code, result]}]})
    assert read.messages[0].parts == (TextPart("```python\n1+1\n```"), TextPart("```\n2\n```"))


def test_a_budget_of_the_models_own_choice_is_kept() -> None:
    read = read_conversation(PATH, {**HI, "generationConfig": {"thinkingConfig": {"thinkingBudget": -1}}})
    assert read.reasoning is None
    body = write_request(replace(read, extras=dict(read.extras))).body
    assert body["generationConfig"] == {"thinkingConfig": {"thinkingBudget": -1}}


def test_code_assist_keeps_its_envelope() -> None:
    body = {"model": "gemini-2.5-pro", "project": "p", "request": {**HI, "session_id": "s"}}
    read = read_conversation("/v1internal:streamGenerateContent", body)
    assert (read.model, read.messages, read.stream) == ("gemini-2.5-pro", (USER,), True)
    assert write_request(read) == Written("/v1internal:streamGenerateContent?alt=sse", body)


def test_what_is_changed_is_written_anew_and_the_rest_is_kept() -> None:
    raw = {"role": "user", "parts": [{"text": "hi", "videoMetadata": {"fps": 1}}]}
    body = {"contents": [raw], "safetySettings": [{"category": 1}], "generationConfig": {"topK": 3}}
    read = read_conversation(PATH, body)
    more = said(TextPart("ab"), role="assistant")
    written = write_request(replace(read, messages=(*read.messages, more), model="gemini-3-pro"))
    assert written.path == "/models/gemini-3-pro:streamGenerateContent?alt=sse"
    assert written.body == {**body, "contents": [raw, {"role": "model", "parts": [{"text": "ab"}]}]}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "contents"),
        ({"contents": []}, "contents"),
        ({"contents": 5}, "contents"),
        ({"contents": [5]}, r"contents\[0\]"),
        ({"contents": [{"role": "robot", "parts": []}]}, r"contents\[0\].role"),
        ({"contents": [{"parts": [{"text": 1}]}]}, r"contents\[0\].parts\[0\].text"),
        ({"contents": [{"parts": [{"functionCall": {}}]}]}, r"functionCall.name"),
        ({"contents": [{"parts": [{"functionResponse": {"name": "f", "response": "x"}}]}]}, r"response"),
        ({**HI, "generationConfig": []}, "generationConfig"),
        ({**HI, "generationConfig": {"temperature": "hot"}}, "generationConfig.temperature"),
        ({**HI, "generationConfig": {"topK": 1.5}}, "generationConfig.topK"),
        ({**HI, "generationConfig": {"candidateCount": -1}}, "candidateCount"),
        ({**HI, "tools": [{"functionDeclarations": [{}]}]}, r"tools\[0\].functionDeclarations\[0\].name"),
        ({**HI, "toolConfig": {"functionCallingConfig": {"mode": "MAYBE"}}}, "toolConfig.functionCallingConfig.mode"),
    ],
)
def test_a_wrong_field_is_named(body: Any, field: str) -> None:
    with pytest.raises(ValueError, match=field):
        read_conversation(PATH, body)


def test_a_path_without_a_model_is_named() -> None:
    with pytest.raises(ValueError, match="path"):
        read_conversation("/v1beta/models", dict(HI))


KEYS = "contents parts role text generationConfig tools functionDeclarations name toolConfig functionCall args model"


@given(google_sdk.confused(*KEYS.split(), "functionResponse", "response", "inlineData", "thinkingConfig", "user"))
def test_whatever_a_client_sends_is_read_or_refused(body: Any) -> None:
    try:
        read = read_conversation(PATH, body)
        write_request(replace(read, extras=dict(read.extras)))
    except (ValueError, Inexpressible):
        return
    write_request(read)


def _requests() -> list[Exchange]:
    apis = ("generateContent", "streamGenerateContent")
    found = [e for e in corpus() if e.api in apis and e.request.get("body")]
    return [e for e in found if "invalid_role" not in e.id]


def _path(exchange: Exchange) -> str:
    return str(urlsplit(exchange.request["url"]).path)


@pytest.mark.parametrize("exchange", _requests(), ids=lambda e: e.id)
def test_every_recorded_request_is_written_as_it_was_read(exchange: Exchange) -> None:
    body = {key: value for key, value in exchange.request["body"].items() if key != "model"}
    written = write_request(read_conversation(_path(exchange), exchange.request["body"]))
    assert (written.body, written.dropped) == (body, ())
    model, _, verb = _path(exchange).rpartition("/")[2].replace("%3A", ":").rpartition(":")
    assert written.path.partition("?")[0] == f"/models/{model}:{verb}"


@pytest.mark.parametrize("exchange", _requests(), ids=lambda e: e.id)
def test_every_recorded_request_written_anew_means_the_same(exchange: Exchange) -> None:
    read = read_conversation(_path(exchange), exchange.request["body"])
    written = write_request(replace(read, extras=dict(read.extras)))
    again = read_conversation(written.path.partition("?")[0], dict(written.body))
    assert replace(again, extras=dict(again.extras)) == replace(read, extras=dict(read.extras))
    assert not written.dropped


@pytest.mark.parametrize("exchange", _requests(), ids=lambda e: e.id)
def test_no_text_call_or_result_of_a_recorded_request_is_lost(exchange: Exchange) -> None:
    """Against the body itself, not against what was read of it."""
    body = exchange.request["body"]
    read = read_conversation(_path(exchange), body)
    assert _meaning(write_request(replace(read, extras=dict(read.extras))).body) == _meaning(body)


def _meaning(body: Any) -> Any:
    def of(content: Any) -> list[Any]:
        keys = ("text", "functionCall", "functionResponse", "thought", "thoughtSignature")
        return [{key: part[key] for key in keys if part.get(key)} for part in content["parts"]]

    names = [d["name"] for tool in body.get("tools", ()) for d in tool.get("functionDeclarations", ())]
    system = body.get("systemInstruction")
    texts = [part["text"] for part in system["parts"]] if system else []
    config = body.get("generationConfig", {})
    return (
        texts,
        [of(content) for content in body["contents"]],
        names,
        config.get("maxOutputTokens"),
        config.get("topK"),
    )


def test_googles_sdk_would_send_the_same() -> None:
    """The SDK's own request, read and written anew, is what it would have sent for the same wishes in JSON Schema."""
    sent: list[Any] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append((request.url.path, json.loads(request.content)))
        return httpx.Response(200, json={"candidates": []})

    http = httpx.Client(transport=httpx.MockTransport(answer))
    client = genai.Client(api_key="none", http_options=types.HttpOptions(httpx_client=http))
    function = types.FunctionDeclaration(
        name="f",
        description="does f",
        parameters=types.Schema(
            type=types.Type.OBJECT, properties={"a": types.Schema(type=types.Type.INTEGER, nullable=True)}
        ),
    )
    contents: list[Any] = ["hi", types.Part.from_bytes(data=b"A", mime_type="image/png")]
    client.models.generate_content(
        model="gemini-3-pro",
        contents=contents,
        config=types.GenerateContentConfig(
            system_instruction="s",
            temperature=0.5,
            tools=[types.Tool(function_declarations=[function])],
            thinking_config=types.ThinkingConfig(thinking_level=types.ThinkingLevel.LOW),
        ),
    )
    read = read_conversation(*sent[0])
    assert read.messages == (
        said(TextPart("s"), role="system"),
        said(TextPart("hi"), MediaPart("image", "image/png", "QQ==")),
    )
    assert read.tools == (Tool("f", "does f", {"type": "object", "properties": {"a": {"type": ["integer", "null"]}}}),)
    assert (read.temperature, read.reasoning, read.stream) == (0.5, ReasoningSettings("low"), False)


@pytest.mark.parametrize("model", ["../../admin", "models/../x", "a//b", "./a", "tunedModels/..", ""])
def test_a_model_that_would_lead_elsewhere_is_refused(model: str) -> None:
    with pytest.raises(ValueError, match="model must be a name"):
        write_request(replace(read_conversation(PATH, HI), model=model))
