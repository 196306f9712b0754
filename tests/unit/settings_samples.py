"""Complete settings of every provider, for the tests of settings to change."""

import base64
import json
from functools import cache

from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

HEX = "0123456789abcdef" * 2

TWILIO = {"TWILIO_ACCOUNT_SID": f"AC{HEX}", "TWILIO_AUTH_TOKEN": HEX, "TWILIO_PHONE_NUMBER": "+15005550006"}
SMTP = {"SMTP_HOST": "smtp.example.com", "SMTP_FROM": "Ana <ana@example.com>"}
WHATSAPP = {
    "WHATSAPP_ACCESS_TOKEN": "EAAtoken",
    "WHATSAPP_PHONE_NUMBER_ID": "100000000000001",
    "WHATSAPP_BUSINESS_ACCOUNT_ID": "200000000000002",
    "WHATSAPP_APP_SECRET": HEX,
    "WHATSAPP_WEBHOOK_VERIFY_TOKEN": "sixteen-or-more!",
}
STRIPE = {
    "STRIPE_SECRET_KEY": "sk_test_abc",
    "NEXT_PUBLIC_STRIPE_PUBLISHABLE_KEY": "pk_test_abc",
    "STRIPE_WEBHOOK_SECRET": "whsec_abc",
}
CLERK = {
    "CLERK_SECRET_KEY": "sk_test_" + "a" * 20,
    "NEXT_PUBLIC_CLERK_PUBLISHABLE_KEY": "pk_test_Y2xlYW4tbWF5Zmx5LTYyLmNsZXJrLmFjY291bnRzLmRldiQ",
    "CLERK_WEBHOOK_SIGNING_SECRET": "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
}
# Settings that only production requires.
CLERK_IN_PRODUCTION = {"CLERK_AUTHORIZED_PARTIES": "https://app.example.com", "CLERK_PERSONAL_TENANT": "refuse"}
GOOGLE_OAUTH = {
    "GOOGLE_CLIENT_ID": "123-abc.apps.googleusercontent.com",
    "GOOGLE_CLIENT_SECRET": "GOCSPX-abc",
    "GOOGLE_REFRESH_TOKEN": "1//abc",
}


@cache
def private_pem() -> str:
    """A key made for this run."""
    key = generate_private_key(65537, 2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@cache
def public_pem(bits: int = 2048) -> str:
    """A public key made for this run."""
    key = generate_private_key(65537, bits).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def service_account(**changes: str | None) -> str:
    """A service account's key file; a change to None removes the field."""
    fields = {
        "type": "service_account",
        "client_email": "agenda@project.iam.gserviceaccount.com",
        "private_key": private_pem(),
        "private_key_id": "key-1",
        "token_uri": "https://oauth2.googleapis.com/token",
    } | changes
    return json.dumps({name: value for name, value in fields.items() if value is not None})


def in_base64(text: str) -> str:
    """The text as one line of base64."""
    return base64.b64encode(text.encode()).decode()


CANARY = "c4n4ry5ecret"


CANARY_KEY = in_base64("0123456789" + CANARY + "0123456789")


ALL_SECRETS = {
    "DATABASE_URL": f"postgresql://app:{CANARY}@db/app?sslmode=require&sslpassword={CANARY}",
    "DATABASE_URL_WORKER": f"postgresql://worker:{CANARY}@db/app",
    "DATABASE_URL_DIRECT": f"postgresql://owner:{CANARY}@db/app",
    "REDIS_URL": f"redis://:{CANARY}@cache/0",
    "ENCRYPTION_KEYS": f"k1:{CANARY_KEY}",
    **TWILIO,
    "TWILIO_AUTH_TOKEN": "c4" * 16,
    "TWILIO_API_KEY_SID": f"SK{HEX}",
    "TWILIO_API_KEY_SECRET": CANARY,
    **SMTP,
    "SMTP_USERNAME": "mailer",
    "SMTP_PASSWORD": CANARY,
    "WHATSAPP_ACCESS_TOKEN": CANARY,
    "WHATSAPP_PHONE_NUMBER_ID": "100000000000001",
    "WHATSAPP_BUSINESS_ACCOUNT_ID": "200000000000002",
    "WHATSAPP_APP_SECRET": "c4" * 16,
    "WHATSAPP_WEBHOOK_VERIFY_TOKEN": CANARY * 2,
    "STRIPE_SECRET_KEY": f"sk_test_{CANARY}",
    "NEXT_PUBLIC_STRIPE_PUBLISHABLE_KEY": "pk_test_public",
    "STRIPE_WEBHOOK_SECRET": f"whsec_{CANARY}",
    "CLERK_SECRET_KEY": f"sk_test_{CANARY * 2}",
    "NEXT_PUBLIC_CLERK_PUBLISHABLE_KEY": "pk_test_Y2xlcmsuZXhhbXBsZS5jb20k",
    "CLERK_WEBHOOK_SIGNING_SECRET": f"whsec_{CANARY}",
    "CLERK_MACHINE_SECRET_KEY": f"ak_{CANARY}",
    "GOOGLE_SERVICE_ACCOUNT_JSON": service_account(),
}
