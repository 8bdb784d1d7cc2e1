"""The link that signs a browser in."""

from __future__ import annotations

import ssl

import httpx

from okome.errors import OkomeError


async def sign_in_url(
    control_url: str, api_key: str, browser_url: str, tls: ssl.SSLContext | None = None
) -> str:
    """A fresh chat URL. The token stands in the fragment, which no server ever sees."""
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=5.0, verify=tls or True) as client:
            answer = await client.post(
                f"{control_url}/auth/token", headers={"Authorization": f"Bearer {api_key}"}
            )
    except httpx.HTTPError as error:
        raise OkomeError(
            f"the control plane gives no sign-in link ({type(error).__name__}); "
            "see `okome logs okome-control`"
        ) from error
    if answer.status_code != 200:
        raise OkomeError(
            f"the control plane gives no sign-in link (answer {answer.status_code}); "
            "see `okome logs okome-control`"
        )
    return f"{browser_url}/#enter={answer.json()['token']}"
