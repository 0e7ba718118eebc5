"""Texts of the gate's pages, in English and Simplified Chinese, apart from the console's catalogue (``gate_pages``)."""

from collections.abc import Mapping

TEXTS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "sign_in": "Sign in",
        "sign_in_new_tab": "Sign in in a new tab",
        "sign_in_as_other": "Sign in as somebody else",
        "sign_out": "Sign out",
        "continue": "Continue",
        "new_tab": "Open this page in a new tab",
        "username": "User name",
        "password": "Password",
        "signed_in": "You are signed in",
        "signed_in_as": "You are signed in as {user}.",
        "signed_out": "You are signed out",
        "ask": "Sign out?",
        "asked": "A link on another site leads here. To sign out, confirm it.",
        # Errors of the form.
        "wrong_password": "The user name or the password is wrong.",
        "throttled": "Too many failed attempts. Try again in {minutes} min.",
        "overloaded": "Too many people are signing in at the moment. Try again.",
        "form_outage": "Sign-in is unavailable at the moment. Try again later.",
        # Errors as pages: a title, and what to do.
        "refused": "Sign-in failed",
        "invalid_link": "This link is not valid, or no longer valid. Sign in again, or ask for a new link.",
        "foreign_form": "The form was not sent from the sign-in page of this site. Open that page, and try again.",
        "outage": "Sign-in is unavailable",
        "later": "Try again later.",
        "no_cookie": "The browser does not keep you signed in",
        "no_cookie_text": (
            "It did not send our cookie back. Allow cookies for this site, and continue. If this page is part of"
            " another site's page, open it in a new tab."
        ),
        "not_signed_in": "You are not signed in",
        "sign_in_first": "Sign in to open this page.",
        "get_a_link": "Go back to where you sign in, and open this page from there.",
        "sign_in_page_is_protected": (
            "The sign-in page cannot be opened without signing in: its address is protected, too. Tell your"
            " administrator."
        ),
        "ended": "Your session has ended",
        "ended_text": (
            "What you typed is not lost. Keep this tab open, and sign in in a new one. Then reload this page: the"
            " browser asks whether to send the form again. Confirm it."
        ),
        "no_access": "No access",
        "no_access_as": "You are signed in as {user}. This user may not open this page.",
        "no_access_advice": "Ask your administrator for access, or sign in as somebody else.",
        "request_refused": "The request was refused",
        "ask_administrator": "If it happens again, tell your administrator.",
        "unavailable": "This page is unavailable at the moment",
        "reference": "Reference: {id}. Give it to your administrator if you ask for help.",
    },
    "zh-Hans": {
        "sign_in": "登录",
        "sign_in_new_tab": "在新标签页中登录",
        "sign_in_as_other": "使用其他账户登录",
        "sign_out": "退出登录",
        "continue": "继续",
        "new_tab": "在新标签页中打开此页面",
        "username": "用户名",
        "password": "密码",
        "signed_in": "您已登录",
        "signed_in_as": "您已以 {user} 的身份登录。",
        "signed_out": "您已退出登录",
        "ask": "要退出登录吗？",
        "asked": "您是从其他网站的链接来到这里的。如要退出登录，请确认。",
        "wrong_password": "用户名或密码错误。",
        "throttled": "失败次数过多。请在 {minutes} 分钟后重试。",
        "overloaded": "当前登录人数过多，请重试。",
        "form_outage": "暂时无法登录。请稍后再试。",
        "refused": "登录失败",
        "invalid_link": "此链接无效或已失效。请重新登录，或索取新的链接。",
        "foreign_form": "该表单不是从本站的登录页面提交的。请打开登录页面后重试。",
        "outage": "暂时无法登录",
        "later": "请稍后再试。",
        "no_cookie": "浏览器未能保持您的登录状态",
        "no_cookie_text": (
            "浏览器没有发回我们的 Cookie。请允许本站使用 Cookie，然后继续。"
            "如果此页面嵌入在其他网站的页面中，请在新标签页中打开。"
        ),
        "not_signed_in": "您尚未登录",
        "sign_in_first": "请登录后打开此页面。",
        "get_a_link": "请返回您登录时使用的网站，再从那里打开此页面。",
        "sign_in_page_is_protected": "登录页面的地址本身也受保护，未登录时无法打开。请告知管理员。",
        "ended": "您的会话已结束",
        "ended_text": (
            "您输入的内容没有丢失。请保持此标签页打开，在新标签页中登录，然后重新加载此页面：浏览器会询问是否重新提交表单，请确认。"
        ),
        "no_access": "没有访问权限",
        "no_access_as": "您已以 {user} 的身份登录。该用户无权打开此页面。",
        "no_access_advice": "请向管理员申请权限，或使用其他账户登录。",
        "request_refused": "请求被拒绝",
        "ask_administrator": "如果再次出现，请告知管理员。",
        "unavailable": "此页面暂时不可用",
        "reference": "参考编号：{id}。如需帮助，请将其提供给管理员。",
    },
}
