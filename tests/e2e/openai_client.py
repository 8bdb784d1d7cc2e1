"""What a program does with the OpenAI SDK, run with whichever version is on the path.

Arguments: base URL, API key. Prints one JSON object per step.
"""

from __future__ import annotations

import json
import sys

import openai

MODEL = "smollm2:135m"
STORY = [{"role": "user", "content": "Write a very long story about a fox."}]


def tell(**members: object) -> None:
    print(json.dumps(members), flush=True)


def main() -> None:
    client = openai.OpenAI(base_url=sys.argv[1], api_key=sys.argv[2], max_retries=0)
    tell(version=openai.__version__, models=[model.id for model in client.models.list()])

    whole = client.chat.completions.create(model=MODEL, messages=STORY, max_tokens=8)
    tell(
        text=whole.choices[0].message.content,
        finish=whole.choices[0].finish_reason,
        usage=whole.usage.completion_tokens,
    )

    raw = client.chat.completions.with_raw_response.create(
        model=MODEL,
        messages=STORY,
        max_tokens=120,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = []
    for chunk in raw.parse():
        chunks.append(chunk)
        if len(chunks) == 4:
            tell(job_id=raw.headers["x-okome-job-id"])
    tell(
        ids=len({chunk.id for chunk in chunks}),
        roles=[c.delta.role for chunk in chunks for c in chunk.choices if c.delta.role],
        finish=chunks[-2].choices[0].finish_reason,
        usage=chunks[-1].usage.completion_tokens,
        text=len("".join(c.delta.content or "" for k in chunks for c in k.choices)),
    )

    for name, call in {
        "unknown_model": {"model": "nope", "messages": STORY},
        "invalid_request": {"model": MODEL, "messages": STORY, "max_tokens": 0},
    }.items():
        try:
            client.chat.completions.create(**call)
        except openai.APIStatusError as error:
            tell(expected=name, code=error.code, status=error.status_code)


main()
