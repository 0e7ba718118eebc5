"""Records of applications in the store: their secrets are encrypted, and the keys of a provider are stored apart."""

from datafor_token.applications.record import SECRETS, Application, ProviderKeySource, no_provider_keys
from datafor_token.crypto.at_rest import Keyring
from datafor_token.store.base import Document


class Sealer:
    """Reads and writes the records of applications, whose secrets are encrypted with this installation's keys."""

    def __init__(
        self, keyring: Keyring, audience_since: int = 0, provider_keys: ProviderKeySource = no_provider_keys
    ) -> None:
        """``audience_since`` and ``provider_keys`` are as in ``Application.from_document``."""
        self._keyring = keyring
        self._audience_since = audience_since
        self._provider_keys = provider_keys

    def unseal(self, document: Document) -> Application:
        """Return the application of a record; its secrets may be encrypted or, if written by hand, plain."""
        name, previous = str(document.get("name")), document.get("previous")
        plain = dict(document)
        for field in SECRETS:
            if field in document:
                plain[field] = self._keyring.decrypt(name, field, document[field])
        if isinstance(previous, dict):
            secret = self._keyring.decrypt(name, "previous", previous.get("secret"))
            plain["previous"] = {**previous, "secret": secret}
        return Application.from_document(plain, self._audience_since, self._provider_keys)

    def seal(self, application: Application) -> Document:
        """Return the record of an application, with its secrets encrypted."""
        document = application.to_document()
        for field in SECRETS:
            if field in document:
                document[field] = self._keyring.encrypt(application.name, field, document[field])
        if application.previous is not None:
            secret = self._keyring.encrypt(application.name, "previous", application.previous.secret)
            document["previous"]["secret"] = secret
        return document
