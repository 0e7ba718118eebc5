"""Words for the codes of the audit log: events, ways of signing in, reasons, and groups of events."""

from datafor_token.audit.events import Kind
from datafor_token.console.language import N_

EVENTS = {
    "application_added": N_("application added"),
    "application_changed": N_("application changed"),
    "application_rotated": N_("secret rotated"),
    "application_deleted": N_("application deleted"),
    "token_generated": N_("token issued"),
    "token_personal": N_("personal token issued"),
    "token_revoked": N_("token revoked"),
    "tokens_cut_off": N_("all earlier tokens revoked"),
    "link_made": N_("one-time link created"),
    "link_redeemed": N_("one-time link used"),
    "sign_in": N_("signed in"),
    "sign_in_refused": N_("sign-in refused"),
    "access_refused": N_("access refused"),
    "rule_reported": N_("would be refused by a rule"),
    "user_made": N_("user created"),
    "user_changed": N_("user changed"),
    "user_synced": N_("user changed by a token"),
    "user_deleted": N_("user deleted"),
    "session_ended": N_("session ended"),
    "gate_key_rotated": N_("new key of signed identities"),
    "store_restored": N_("store restored"),
    "store_repaired": N_("damaged records moved aside"),
    "store_rekeyed": N_("secrets encrypted with a new key"),
}
# By the outcome in the log, which only events that failed or may have failed have.
OUTCOMES = {
    "not stored": N_("not stored"),
    "may or may not have been stored": N_("may or may not have been stored"),
}
WAYS = {
    "basic": N_("password"),
    "login": N_("password, in a form"),
    "bearer": N_("token"),
    "url": N_("token in the URL"),
    "ticket": N_("one-time link"),
    "session": N_("session"),
    "gate": N_("gate session"),
    "command": N_("command line"),
}
REASONS = {
    "malformed": N_("not a token or password"),
    "header": N_("invalid token header"),
    "algorithm": N_("unexpected algorithm"),
    "signature": N_("wrong signature"),
    "no_expiry": N_("token without expiry"),
    "expired": N_("token expired"),
    "not_yet_valid": N_("token not yet valid"),
    "invalid_time": N_("invalid time in the token"),
    "no_username": N_("no user name in the token"),
    "invalid_username": N_("invalid user name in the token"),
    "revoked": N_("token revoked"),
    "disabled_application": N_("application disabled"),
    "unknown_user": N_("unknown user"),
    "disabled_user": N_("user disabled"),
    "administrator_refused": N_("Administrator by token"),
    "audience": N_("wrong audience"),
    "issuer": N_("wrong issuer"),
    "claim": N_("required claim missing"),
    "too_long_lived": N_("lifetime too long"),
    "network": N_("wrong network"),
    "not_own_user": N_("not a user of the application"),
    "keys_unavailable": N_("no keys of the identity provider"),
    "wrong_password": N_("wrong password"),
    "throttled": N_("too many wrong passwords"),
    "overloaded": N_("too many sign-ins at once"),
    "several_tokens": N_("several tokens in the URL"),
    "ticket": N_("one-time link not valid"),
    "requirement": N_("requirement not met"),
    "unknown_requirement": N_("unknown requirement"),
    "unauthenticated": N_("backup not authenticated"),
}
# Those of rehearsals, with one that no refusal has: a token in a URL whose parameter is not read any more.
REASONS_OF_REHEARSALS = {**REASONS, "token_name": N_("URL parameter of no application")}
# Groups of the list of events, each with its name as a choice for all of its events.
GROUPS = (
    (N_("Sign-ins"), (Kind.SIGN_IN, Kind.SIGN_IN_REFUSED, Kind.ACCESS_REFUSED, Kind.RULE_REPORTED, Kind.SESSION_ENDED)),
    (
        N_("Tokens and links"),
        (
            Kind.TOKEN_GENERATED, Kind.TOKEN_PERSONAL, Kind.TOKEN_REVOKED, Kind.TOKENS_CUT_OFF, Kind.LINK_MADE,
            Kind.LINK_REDEEMED,
        ),
    ),
    (
        N_("Applications"),
        (Kind.APPLICATION_ADDED, Kind.APPLICATION_CHANGED, Kind.APPLICATION_ROTATED, Kind.APPLICATION_DELETED),
    ),
    (N_("Users"), (Kind.USER_MADE, Kind.USER_CHANGED, Kind.USER_SYNCED, Kind.USER_DELETED)),
    (N_("Service"), (Kind.GATE_KEY_ROTATED, Kind.STORE_RESTORED, Kind.STORE_REPAIRED, Kind.STORE_REKEYED)),
)  # fmt: skip
# Fields of users; those of applications have the labels of their form.
USER_FIELDS = {
    "username": N_("User name"),
    "name": N_("Display name"),
    "email": N_("Email"),
    "type": N_("User type"),
    "roles": N_("Roles"),
    "enabled": N_("Enabled"),
    "mobile": N_("Telephone"),
    "dept": N_("Department"),
    "title": N_("Title"),
    "application": N_("Application"),
    "password": N_("Password"),
}
OTHER_FIELDS = {
    "previous": N_("Previous secret accepted until"),
    "kid": N_("Key"),
    "signs_from": N_("Signs from"),
}
