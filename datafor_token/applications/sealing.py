"""An application and its record: the secrets in it are encrypted."""

from datafor_token.applications.record import Application
from datafor_token.crypto.at_rest import Secrecy
from datafor_token.store.base import Document


class Sealer:
    """Turns records into applications and back, under this installation's keys."""

    def __init__(self, secrecy: Secrecy) -> None:
        self._secrecy = secrecy

    def opened(self, document: Document) -> Application:
        """The application of a record, whose secrets may be encrypted or, written by hand, plain."""
        name, previous = str(document.get("name")), document.get("previous")
        opened = dict(document)
        for field in ("secret", "initpwd"):
            if field in document:
                opened[field] = self._secrecy.open(name, field, document[field])
        if isinstance(previous, dict):
            secret = self._secrecy.open(name, "previous", previous.get("secret"))
            opened["previous"] = {**previous, "secret": secret}
        return Application.from_document(opened)

    def sealed(self, application: Application) -> Document:
        """The record of an application, its secrets encrypted."""
        document = application.to_document()
        for field in ("secret", "initpwd"):
            document[field] = self._secrecy.seal(application.name, field, document[field])
        if application.previous is not None:
            document["previous"]["secret"] = self._secrecy.seal(
                application.name, "previous", application.previous.secret
            )
        return document
