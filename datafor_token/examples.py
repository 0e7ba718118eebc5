"""The examples of the API description: those of the seed's two pages, and what belongs to them."""

from datafor_token.applications import MASK

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
DONE = {"msg": "success"}
TICKET_URL = "https://intra.example/auth/enter?ticket=7cgNvxmJ0ZaUW4Q3eSx0Zf0Wb1y8mHk2rTtLq5oPvEs"
