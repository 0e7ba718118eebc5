"""Messages that the console shows and their translations: ``python -m tests.console.catalogue`` updates the file.

A message whose words changed a little keeps its translation, marked as fuzzy; a new message has none. The tests of
the catalogue fail until each is translated and no mark is left.
"""

import io
from collections.abc import Iterator

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po, write_po

from datafor_token import errors
from datafor_token.console.language import FOLDER
from datafor_token.settings import table

FILE = FOLDER / "zh" / "LC_MESSAGES" / "messages.po"
PACKAGE = FOLDER.parent.parent
# The folders whose messages a page can show.
FOLDERS = (
    "applications", "audit", "console", "crypto", "gate", "providers", "rehearsal", "requests", "tokens", "users",
    "validation", "web",
)  # fmt: skip
# The functions and classes that take a message, with the argument's position where it is not the first.
KEYWORDS: dict[str, tuple[int, ...] | None] = {
    "_": None, "gettext": None, "N_": None, "NN_": (1, 2), "ngettext": (1, 2), "add_count": (1, 2), "Message": None,
    "about": (2,), "of": (2,), "RuleError": None, "JSONError": None, "Refused": (3,), "Forbidden": None,
    "NotFound": None, "Conflict": None, "RotationUndone": None, "LastAdministrator": None, "Overloaded": None,
    "MalformedRequest": None, "AuditUnavailable": None,
}  # fmt: skip
# Terms of the translation: one for each concept, with the words that are not used for it. A test holds them, also for
# the texts of the gate. Readers are addressed as 您.
GLOSSARY: dict[str, tuple[str, tuple[str, ...]]] = {
    "account": ("账户", ("账号", "帐号", "帐户")),
    "address, network": ("地址 / 网段", ("网络",)),
    "administrator": ("管理员", ("超级用户",)),
    "application": ("应用", ("应用程序", "应用系统")),
    "audience": ("受众", ("听众", "接收者")),
    "change": ("修改", ("更改", "变更")),
    "claim": ("声明", ("申明", "断言")),
    "copy, duplicate": ("复制 / 创建副本", ()),
    "disable, enable": ("停用 / 启用", ("禁用", "激活")),
    "email": ("邮箱", ("电子邮件", "邮件地址")),
    "expiry": ("过期", ("到期", "失效时间")),
    "frame": ("内嵌框架", ()),
    "grace period": ("宽限期", ("过渡期",)),
    "header of a token, of HTTP": ("头部 / 请求头 / 响应头", ("标头", "报头")),
    "identifier": ("标识符", ()),
    "issue": ("签发", ("颁发", "发放")),
    "issuer": ("签发方", ("签发者", "颁发者")),
    "key set": ("密钥集", ("密钥组",)),
    "label of a token": ("备注", ()),
    "lifetime": ("有效期", ("生命周期",)),
    "one-time link": ("一次性链接", ("单次链接",)),
    "provider": ("身份提供方", ("提供商", "提供者")),
    "reference": ("参考编号", ()),
    "revoke": ("吊销", ("撤回", "作废")),
    "role": ("角色", ()),
    "rotate": ("轮换", ("轮替", "轮转密钥")),
    "secret, public key, private key": ("密钥 / 公钥 / 私钥", ("秘钥", "密匙")),
    "session": ("会话", ("打开的会话",)),
    "setting": ("设置 / 设置项", ("配置项",)),
    "sign in, sign out": ("登录 / 退出登录", ("登陆", "注销", "登出")),
    "token": ("令牌", ("口令", "凭证")),
    "undo, cannot be undone": ("撤销 / 无法撤销", ("撤消",)),
    "user name, display name": ("用户名 / 显示名称", ("用户名称",)),
}
# The errors of settings stop the start, and no page shows them.
_METHODS = [("setting_values.py", "ignore"), ("**.py", "python"), ("**.html", "jinja2")]


def of_the_code() -> Catalog:
    """Return every message of the code, the templates and the table of settings."""
    found = Catalog()
    for place, message in sorted(_extracted(), key=str):
        found.add(message, locations=[(place, 0)])
    return found


def _extracted() -> Iterator[tuple[str, str | tuple[str, ...]]]:
    for folder in FOLDERS:
        # By default, the messages of a template with a syntax error would be left out silently.
        loud = {"**.html": {"silent": "false", "newstyle_gettext": "true"}}
        for name, _, message, _, _ in extract_from_dir(PACKAGE / folder, _METHODS, loud, keywords=KEYWORDS):
            yield f"{folder}/{name}", message
    for name in ("settings.py", "settings_sources.py", "operations/checklist.py"):
        for _, _, message, _, _ in extract_from_dir(PACKAGE, [(name, "python")], keywords={"Message": None}):
            yield name, message
    for error in error_classes():
        yield "errors.py", error.message
    for field in table():
        yield "settings.py", field.metadata["help"]
        yield "settings.py", field.metadata["unit"]


def error_classes() -> list[type[errors.DataforTokenError]]:
    """Return all classes of errors."""
    found = [errors.DataforTokenError]
    for one in found:
        found += one.__subclasses__()
    return found


def translated() -> Catalog:
    """Return the messages that are translated."""
    with FILE.open("rb") as file:
        return read_po(file, locale="zh_Hans")


def main() -> None:
    """Update the file."""
    catalogue = translated()
    catalogue.update(of_the_code(), update_creation_date=False)
    catalogue.project, catalogue.version = "datafor_token", "console"
    catalogue.msgid_bugs_address = catalogue.last_translator = catalogue.language_team = ""
    for message in catalogue:
        # Former texts that a merge left as comments.
        message.user_comments = []
    text = io.BytesIO()
    write_po(
        text,
        catalogue,
        width=120,
        omit_header=False,
        include_lineno=False,
        include_previous=True,
        ignore_obsolete=True,
        sort_output=True,
    )
    FILE.write_bytes(text.getvalue())


if __name__ == "__main__":
    main()
