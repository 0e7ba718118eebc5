"""The examples of the API description: those of the seed's two pages, and what belongs to them."""

from datafor_token.applications.record import MASK

# The examples of the seed's two pages, as they stand there.
ERP = {
    "name": "ERP",
    "token_name": "token",
    "secret": "abcd",
    "expire": 86400,
    "fieldmap": {"username": "loginname", "name": "name", "email": "email"},
    "algorithm": "HS256",
    "enable": "1",
    "inituser": "1",
    "initroles": ["SYS_Reader"],
}
TOKEN = (
    "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.eyJFUlAiOiJhZG1pbiIsImV4cCI6MTcyMzAxNTkxNn0"  # noqa: S105 - public
    ".uEmUwBfNAd5FtzjPPrldU9bierng7fd8rCVlZtVPY2k"
)
ISSUED = {"expire": 86400, "token": TOKEN}
SHOWN_ERP = {
    **ERP,
    "secret": MASK,
    "initpwd": "",
    "self_service": "0",
    "createdDate": 1722929516000,
    "lastModifiedDate": 1722929516000,
    "creatorId": "admin",
}
LENA = {"userid": "lena", "username": "lena", "name": "", "email": "", "type": "SYS_Reader", "roles": [], "enabled": True}  # fmt: skip  # noqa: E501
EVENT = {
    "time": "2024-08-06T07:31:56.000Z",
    "event": "application_changed",
    "actor": "admin",
    "way": "basic",
    "address": "10.0.0.7",
    "request_id": "2c0f4cd2a3a94d0fb2a8c4f7ab12cd34",
    "target": {"application": "ERP"},
    "fields": ["expire"],
}
DONE = {"msg": "success"}
TICKET_URL = "https://intra.example/auth/enter?ticket=7cgNvxmJ0ZaUW4Q3eSx0Zf0Wb1y8mHk2rTtLq5oPvEs"
