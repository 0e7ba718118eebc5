"""authlib's authorization server on Flask: client_credentials, access tokens that are JWTs signed by HS256 (RFC 9068).

Its client is a constant and what it issues is not stored: all that such a server need not do is left out.
"""

import hmac
import os

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import ClientMixin
from authlib.oauth2.rfc6749.grants import ClientCredentialsGrant
from authlib.oauth2.rfc9068 import JWTBearerTokenGenerator
from flask import Flask
from joserfc.jwk import OctKey

KEY = OctKey.import_key(os.environ["SIGNING_SECRET"])


class Client(ClientMixin):
    def get_client_id(self):
        return os.environ["CLIENT_ID"]

    def get_allowed_scope(self, scope):
        return scope or ""

    def check_client_secret(self, client_secret):
        return hmac.compare_digest(client_secret, os.environ["CLIENT_SECRET"])

    def check_endpoint_auth_method(self, method, endpoint):
        return (method, endpoint) == ("client_secret_basic", "token")

    def check_grant_type(self, grant_type):
        return grant_type == "client_credentials"


class Generator(JWTBearerTokenGenerator):
    def get_jwks(self):
        return KEY


CLIENTS = {os.environ["CLIENT_ID"]: Client()}
app = Flask(__name__)
server = AuthorizationServer(app, query_client=CLIENTS.get, save_token=lambda _token, _request: None)
server.register_token_generator("default", Generator(issuer="http://127.0.0.1", alg="HS256"))
server.register_grant(ClientCredentialsGrant)


@app.post("/token")
def token():
    return server.create_token_response()


@app.get("/hello")
def hello():
    return "hello"
