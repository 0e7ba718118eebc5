"""The tab that says how to use an application: code that signs its tokens, and a proxy that takes them."""

from urllib.parse import urlsplit

from flask.typing import ResponseReturnValue

from datafor_token.console import application_tabs, code_examples, pages, proxy_blocks
from datafor_token.console.blueprint import blueprint
from datafor_token.console.code_examples import LANGUAGES
from datafor_token.console.proxy_blocks import PROXIES
from datafor_token.web.current import current
from datafor_token.web.services import services


@blueprint.get("/applications/<name>/use")
def application_use(name: str) -> ResponseReturnValue:
    """Show one example, which the query names: a language or a proxy."""
    found = application_tabs.find(name)
    languages = [key for key in LANGUAGES if code_examples.is_available(key, found)]
    wanted = current().args.get("with", "")
    chosen = wanted if wanted in languages or wanted in PROXIES else languages[0]
    if chosen in PROXIES:
        application_host = urlsplit(services().settings.public_url).hostname or ""
        console_host = urlsplit(current().host_url).hostname or ""
        if console_host == application_host:
            console_host = ""
        text = proxy_blocks.block_for(PROXIES[chosen], found, application_host, console_host)
    else:
        text = code_examples.code_for(chosen, found, pages.base_url())
    return application_tabs.render(
        "application_use",
        found,
        chosen=chosen,
        text=text,
        examples=[
            *((f"?with={key}", LANGUAGES[key]) for key in languages),
            *((f"?with={key}", proxy.name) for key, proxy in PROXIES.items()),
        ],
        languages={key: LANGUAGES[key] for key in languages},
        proxies=PROXIES,
        php_is_missing="php" not in languages and not found.jwks_uri,
        prefix=services().settings.url_prefix,
    )
