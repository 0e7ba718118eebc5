"""What the steps of ``explain`` are called, and what to do about each reason for which a token is refused."""

from datafor_token.console.language import N_

STEPS = {
    "read": N_("It can be read"),
    "header": N_("Its header"),
    "algorithm": N_("Its algorithm"),
    "signature": N_("Its signature"),
    "time": N_("Its times"),
    "username": N_("Its user name"),
    "revocation": N_("It was not revoked"),
    "application": N_("Its application"),
    "user": N_("Its user"),
    "administrator": N_("Administrators"),
    "damaged": N_("Records that cannot be read"),
}
# By the reason of contract section 7.
ADVICE = {
    "malformed": N_(
        "Copy the token anew, whole and alone: three parts with dots between, no quotes, no line breaks, no word in "
        "front. A token in a URL may have been cut off or encoded twice."
    ),
    "header": N_("Let the issuer make a plain signed token: a header with typ and alg, without crit, b64, enc or zip."),
    "algorithm": N_(
        "Let the issuer sign with the algorithm that the application expects, or change the application's algorithm."
    ),
    "signature": N_(
        "Compare the issuer's secret with the application's, to the last character and without a line break behind "
        "it. If it was lost, rotate: the old one goes on for the grace time."
    ),
    "no_expiry": N_("Let the issuer set exp: when the token expires, in whole seconds since 1970."),
    "expired": N_("Make a new token. If it was made just now, compare both clocks; LEEWAY says how much is forgiven."),
    "not_yet_valid": N_("Compare the issuer's clock with this server's, and set the one that is wrong."),
    "invalid_time": N_("Let the issuer write exp, nbf and iat as JSON numbers of seconds, not as text, not in ms."),
    "no_username": N_(
        "Let the issuer put the user name into the claim that is named, or change the application's claim of the user "
        "name."
    ),
    "invalid_username": N_("Let the issuer send a user name that keeps the rules; the sentence says which it breaks."),
    "revoked": N_("It was revoked on purpose: make a new token."),
    "disabled_application": N_("Enable the application, if its tokens are to be accepted."),
    "unknown_user": N_("Add the user, or let the application make unknown users."),
    "disabled_user": N_("Enable the user, if they are to sign in."),
    "administrator_refused": N_(
        "Give the application a strong secret, or sign the Administrator in with a password. With "
        "TOKENS_MAY_ADMINISTER = false no token does."
    ),
}
