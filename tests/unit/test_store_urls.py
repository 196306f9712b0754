"""One reader for DATABASE_URL and one for REDIS_URL: what `check` accepts can be connected to; the rest is refused."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from redis.asyncio import SSLConnection

from api.configuration import load_configuration
from core.pubsub import connect_redis
from core.settings import WrongValue
from core.settings.postgres_url import PARAMETERS as LIBPQ
from core.settings.postgres_url import read_postgres_url
from core.settings.redis_url import PARAMETERS as REDIS
from core.settings.redis_url import read_redis_url

NEON = "postgresql://app:npg_x@ep-cool-1-pooler.sa-east-1.aws.neon.tech/db"

# https://www.postgresql.org/docs/18/libpq-connect.html#LIBPQ-PARAMKEYWORDS
_LIBPQ_WORDS = """
host hostaddr port dbname user password passfile require_auth channel_binding connect_timeout client_encoding options
application_name fallback_application_name keepalives keepalives_idle keepalives_interval keepalives_count
tcp_user_timeout replication gssencmode sslmode requiressl sslnegotiation sslcompression sslcert sslkey sslkeylogfile
sslpassword sslcertmode sslrootcert sslcrl sslcrldir sslsni requirepeer ssl_min_protocol_version
ssl_max_protocol_version min_protocol_version max_protocol_version krbsrvname gsslib gssdelegation scram_client_key
scram_server_key service servicefile target_session_attrs load_balance_hosts oauth_issuer oauth_client_id
oauth_client_secret oauth_scope
"""
ALL_OF_LIBPQ = _LIBPQ_WORDS.split()


def refusal(text: str, *, redis: bool = False) -> str:
    """Why a URL is refused."""
    with pytest.raises(WrongValue) as caught:
        (read_redis_url if redis else read_postgres_url)(text)
    return str(caught.value)


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A certificate, its key, its key under a password, another key, and a file that is none."""
    folder = tmp_path_factory.mktemp("pem")
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "somebody")])
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(keys[0].public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(keys[0], hashes.SHA256())
    )

    def written(key: ec.EllipticCurvePrivateKey, lock: serialization.KeySerializationEncryption) -> bytes:
        return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock)

    free, locked = serialization.NoEncryption(), serialization.BestAvailableEncryption(b"open sesame")
    contents = {
        "cert": certificate.public_bytes(serialization.Encoding.PEM),
        "key": written(keys[0], free),
        "locked": written(keys[0], locked),
        "other": written(keys[1], free),
        "none": b"not a certificate",
    }
    for file, content in contents.items():
        (folder / file).write_bytes(content)
    return {file: str(folder / file) for file in contents} | {"folder": str(folder), "missing": str(folder / "nobody")}


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("PGSERVICEFILE", "PGSYSCONFDIR", "PGSSLMODE", "PGHOST"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_every_parameter_of_libpq_is_honoured_or_refused_by_name_with_the_fix() -> None:
    assert len(ALL_OF_LIBPQ) == 52
    assert [name for name in ALL_OF_LIBPQ if name not in {*LIBPQ.honoured, *LIBPQ.refused}] == []
    assert LIBPQ.honoured.keys() & LIBPQ.refused.keys() == set()
    for name, fix in LIBPQ.refused.items():
        told = refusal(f"postgresql://u:p@db/app?{name}=x")
        assert name in told
        assert fix in told


def test_every_parameter_of_redis_py_is_honoured_or_refused_by_name_with_the_fix() -> None:
    known = {*REDIS.honoured, *REDIS.refused}
    taken: set[str] = set()
    for kind in SSLConnection.__mro__:
        code = getattr(kind.__init__, "__wrapped__", kind.__init__)
        if hasattr(code, "__code__"):
            count = code.__code__.co_argcount + code.__code__.co_kwonlyargcount
            taken |= set(code.__code__.co_varnames[:count])
    taken -= {"self", "kwargs", "args", "host", "port"}
    assert {"ssl_ca_certs", "health_check_interval", "client_name"} <= taken
    assert taken - known == set()
    for name, fix in REDIS.refused.items():
        told = refusal(f"rediss://cache/0?{name}=x", redis=True)
        assert name in told
        assert fix in told


def test_the_parts_of_a_database_url_are_read_as_libpq_reads_them() -> None:
    for text, hosts, user, password, database in (
        ("postgresql://u:p@db/app", [("db", 5432)], "u", "p", "app"),
        ("  POSTGRES://u:p@db:6432/app \n", [("db", 6432)], "u", "p", "app"),
        ("postgresql+asyncpg://u@[::1]:5433/app", [("::1", 5433)], "u", None, "app"),
        ("postgresql://u%40x:p%40s%2Fs%3F%23%25%3A@db/a%2Fb", [("db", 5432)], "u@x", "p@s/s?#%:", "a/b"),
        ("postgresql://u:a:b+c@db/app", [("db", 5432)], "u", "a:b+c", "app"),
        ("postgresql://u:s%C3%A3o@db/app", [("db", 5432)], "u", "são", "app"),
        ("postgresql://u:@db/app", [("db", 5432)], "u", None, "app"),
        ("postgresql://u:p@one,two:6000,[::1]/app", [("one", 5432), ("two", 6000), ("::1", 5432)], "u", "p", "app"),
        ("postgresql://u:p@one,two/app?port=1,2", [("one", 1), ("two", 2)], "u", "p", "app"),
        ("postgresql://u@%2Frun%2Fpostgresql/app", [("/run/postgresql", 5432)], "u", None, "app"),
        ("postgresql:///app?host=/run/pg&port=6&user=u&password=p", [("/run/pg", 6)], "u", "p", "app"),
        ("postgresql://?host=::1&user=u&dbname=app", [("::1", 5432)], "u", None, "app"),
    ):
        found = read_postgres_url(text)
        assert (list(found.hosts), found.user, found.password, found.database) == (hosts, user, password, database)
        assert password in (None, "p") or password not in repr(found)


def test_a_database_url_that_can_be_read_in_two_ways_is_refused() -> None:
    for text, told in (
        ("postgresql://u:p@ss@db.example.com/app", "@ is %40"),
        ("postgresql://u:p/ss@db/app", "/ is %2F"),
        ("postgresql://u:p?ss@db/app", "? is %3F"),
        ("postgresql://u:p#ss@db/app", "# is %23"),
        ("postgresql://u:p@db/app#x", "# is %23"),
        ("postgresql://u:p%zz@db/app", "% is %25"),
        ("postgresql://u:100%@db/app", "% is %25"),
        ("postgresql://u:p%ff@db/app", "UTF-8"),
        ("postgresql://u:p%00@db/app", "%00"),
        ("postgresql://u:p w@db/app", "a space is %20"),
        ("postgresql://u:p@db/app?sslmode=require&sslmode=disable", "sslmode twice"),
        ("postgresql://u:p@db/app?user=v", "user twice"),
        ("postgresql://u:p@db/app?host=other", "host twice"),
        ("postgresql://u:p@db/app?dbname=other", "dbname twice"),
        ("postgresql://u:p@db/app?sslmode", "sslmode without a value"),
        ("postgresql://u:p@db/app?sslmode=", "sslmode without a value"),
        ("postgresql://u:p@db/app?SSLMODE=require", "did you mean sslmode?"),
        ("postgresql://u:p@db/app?ssl_mode=require", "did you mean sslmode?"),
        ("postgresql://u:p@db/app?nothing_of_ours=1", "nothing_of_ours, which is not known"),
        ("postgresql://u:p@db/app/", "names no database"),
        ("postgresql://u:p@db", "names no database"),
        ("postgresql://u:p@db/", "names no database"),
        ("postgresql://:p@db/app", "names no user"),
        ("postgresql://db/app", "names no user"),
        ("postgresql:///app", "names no host"),
        ("postgresql://u:p@/app", "names no host"),
        ("postgresql://u:p@one,,two/app", "names no host"),
        ("postgresql://u:p@db:0/app", "1 to 65535"),
        ("postgresql://u:p@db:70000/app", "1 to 65535"),
        ("postgresql://u:p@db:x/app", "[::1]:port"),
        ("postgresql://u:p@::1/app", "[::1]:port"),
        ("postgresql://u:p:5432/app", "[::1]:port"),
        ("postgresql://u:p@db;x/app", "no host has"),
        ("postgresql:///app?host=db%20x&user=u", "no host has"),
        ("postgresql:///app?host=db:5432&user=u", "port=…"),
        ("postgresql://u:p@one,two/app?port=1,2,3", "another number of ports"),
        ("postgresql://u:p@db:5433/app?port=5432", "port twice"),
        ("postgresql://u:p@one,two:5433/app?port=1,2", "port twice"),
        ("postgresql://u:p@db%3A5433/app", "no host has"),
        ("mysql://u:p@db/app", "must begin with postgresql://"),
        ("'postgresql://u:p@db/app'", "must begin with postgresql://"),
        ("jdbc:postgresql://db/app", "must begin with postgresql://"),
    ):
        assert told in refusal(text), text


def test_a_refusal_shows_nothing_that_may_be_a_password() -> None:
    for text in (
        "postgresql://u:x@hunter2@db/app",
        "postgresql://u:p@db/app?hunter2=1",
        "postgresql://u:%hunter2@db/a",
    ):
        assert "hunter2" not in refusal(text)
    for text in ("redis://:x@hunter2@db/0", "redis://db/hunter2", "redis://:p/hunter2@db", "redis://db?hunter2"):
        assert "hunter2" not in refusal(text, redis=True)


def test_each_sslmode_does_what_libpq_does(pem: dict[str, str], home: Path) -> None:
    def tls(query: str) -> object:
        found = read_postgres_url(f"postgresql://u:p@db/app{query}").tls
        return (found.verify_mode, found.check_hostname) if isinstance(found, ssl.SSLContext) else found

    nobody, somebody, this_one = (ssl.CERT_NONE, False), (ssl.CERT_REQUIRED, False), (ssl.CERT_REQUIRED, True)
    for query, expected in (
        ("", "prefer"),
        ("?sslmode=disable", False),
        ("?sslmode=allow", "allow"),
        ("?sslmode=prefer", "prefer"),
        ("?sslmode=require", nobody),
        ("?ssl=true", nobody),
        (f"?sslmode=require&sslrootcert={pem['cert']}", somebody),
        (f"?sslmode=verify-ca&sslrootcert={pem['cert']}", somebody),
        (f"?sslmode=verify-full&sslrootcert={pem['cert']}", this_one),
        ("?sslmode=verify-full", this_one),
        ("?sslmode=verify-full&sslrootcert=system", this_one),
        ("?sslrootcert=system", this_one),
        # Neon's own words: the driver binds no channel, so the name in the certificate is checked.
        ("?sslmode=require&channel_binding=require", this_one),
        ("?sslmode=require&channel_binding=prefer", nobody),
    ):
        assert tls(query) == expected, query
    (home / ".postgresql").mkdir()
    (home / ".postgresql" / "root.crt").write_bytes(Path(pem["cert"]).read_bytes())
    assert tls("?sslmode=require") == somebody


def test_parameters_that_would_be_ignored_or_cannot_be_read_are_refused(pem: dict[str, str]) -> None:
    full = "sslmode=verify-full"
    for query, told in (
        (f"sslrootcert={pem['cert']}", "sslrootcert, which only counts with sslmode=verify-full"),
        (f"sslmode=prefer&sslrootcert={pem['cert']}", "only counts with"),
        ("sslmode=require&sslrootcert=system", "write sslmode=verify-full"),
        ("sslmode=prefer&channel_binding=require", "write sslmode=verify-full"),
        ("sslmode=sometimes", "sslmode, which must be disable"),
        (f"{full}&sslrootcert={pem['missing']}", "sslrootcert, which names no file"),
        (f"{full}&sslrootcert={pem['none']}", "sslrootcert, which names no file of PEM"),
        (f"{full}&sslcrl={pem['none']}", "sslcrl, which names no file of PEM"),
        (f"{full}&sslcert={pem['cert']}", "sslcert and sslkey"),
        (f"{full}&sslkey={pem['key']}", "no sslcert"),
        (f"{full}&sslcert={pem['cert']}&sslkey={pem['other']}", "does not belong"),
        (f"{full}&sslcert={pem['cert']}&sslkey={pem['locked']}&sslpassword=wrong", "is sslpassword right"),
        (f"{full}&ssl_min_protocol_version=TLSv1", "TLSv1.2 or TLSv1.3"),
        (f"{full}&ssl_min_protocol_version=TLSv1.3&ssl_max_protocol_version=TLSv1.2", "no version is between"),
        ("ssl_min_protocol_version=TLSv1.3", "TLSv1.3, which only counts with sslmode=verify-full"),
        (f"sslmode=require&sslcrl={pem['cert']}", "sslcrl, and nothing checks"),
        # More than Linux takes: the connection would fail after it was made.
        ("keepalives_idle=32768", "0 to 32767"),
        ("keepalives_interval=32768", "0 to 32767"),
        ("sslnegotiation=direct", "needs sslmode=require"),
        ("connect_timeout=0", "from 1 to 600"),
        ("target_session_attrs=read-only", "any, read-write or primary"),
        ("client_encoding=LATIN1", "must be UTF8"),
        ("gssencmode=require", "disable or prefer"),
        (f"passfile={pem['cert']}", "chmod 600"),
        ("service=nobody", "no service file defines"),
    ):
        assert told in refusal(f"postgresql://u:p@db/app?{query}"), query


def test_client_certificates_and_versions_are_taken(pem: dict[str, str]) -> None:
    for query in (
        f"sslcert={pem['cert']}&sslkey={pem['key']}",
        f"sslcert={pem['cert']}&sslkey={pem['locked']}&sslpassword=open%20sesame",
        f"sslcert={pem['cert']}&sslkey={pem['other']}&sslcertmode=disable",
        f"sslcrl={pem['cert']}",
        f"sslcrldir={pem['folder']}",
        "ssl_min_protocol_version=TLSv1.3&ssl_max_protocol_version=TLSv1.3&sslnegotiation=direct",
    ):
        found = read_postgres_url(f"postgresql://u:p@db/app?sslmode=verify-full&sslrootcert={pem['cert']}&{query}")
        assert isinstance(found.tls, ssl.SSLContext)
        assert found.is_direct_tls == ("direct" in query)
        assert ("crl" in query) == bool(found.tls.verify_flags & ssl.VerifyFlags.VERIFY_CRL_CHECK_CHAIN)
    assert found.tls.minimum_version is ssl.TLSVersion.TLSv1_3


def test_what_concerns_the_session_is_passed_on() -> None:
    found = read_postgres_url(
        f"{NEON}?options=endpoint%3Dep-cool-1&application_name=shop&connect_timeout=3&pgbouncer=true"
        "&keepalives_idle=30&tcp_user_timeout=5000&target_session_attrs=read-write&load_balance_hosts=random"
        "&client_encoding=utf8&gssencmode=disable&sslsni=1&max_protocol_version=3.2"
    )
    assert found.server_settings == {"application_name": "shop", "options": "endpoint=ep-cool-1"}
    assert (found.connect_timeout, found.session, found.is_shuffled) == (3.0, "read-write", True)
    assert not found.has_prepared_statements
    assert found.keep_alive == {"keepalives_idle": 30, "tcp_user_timeout": 5000}
    assert found.is_pooled
    assert not read_postgres_url("postgresql://u:p@db/app").is_pooled


def test_a_service_file_fills_what_the_url_leaves_open(home: Path) -> None:
    services = "[shop]\nhost=db\nport=6432\nuser=u\npassword=p%1\ndbname=app\n[wrong]\nhost=db\nwhatever=1\n"
    (home / ".pg_service.conf").write_text(services)
    found = read_postgres_url("postgresql:///other?service=shop")
    assert found.shown == "postgresql://u@db:6432/other"
    assert found.password == "p%1"
    assert "whatever, which is not known" in refusal("postgresql://u@db/app?service=wrong")
    (home / "elsewhere").write_text("[shop]\nhost=elsewhere\n")
    assert read_postgres_url("postgresql://u@here:7000/app?service=shop").hosts == [("here", 7000)]
    other = read_postgres_url(f"postgresql://u@/app?service=shop&servicefile={home / 'elsewhere'}")
    assert other.shown == "postgresql://u@elsewhere:5432/app"


def test_what_is_shown_is_what_is_connected_to_without_a_password() -> None:
    for text, shown in (
        ("postgresql://app:p%40w@db:5432/app?sslmode=require", "postgresql://app@db:5432/app"),
        ("postgres://app:pw@one,[::1]:6000/app", "postgresql://app@one:5432,[::1]:6000/app"),
        ("postgresql:///app?host=/run/pg&user=app&password=pw", "postgresql://app@/run/pg:5432/app"),
    ):
        assert read_postgres_url(text).shown == shown
    for text, shown in (
        ("redis://:pw@cache", "redis://cache:6379/0"),
        ("REDISS://me:pw@cache:6380/3", "rediss://me@cache:6380/3"),
        ("unix:///run/valkey.sock?db=2&password=pw", "unix:///run/valkey.sock?db=2"),
    ):
        assert read_redis_url(text).shown == shown


def test_the_parts_of_a_redis_url_are_read_and_used(pem: dict[str, str]) -> None:
    for text, expected in (
        ("redis://cache", {"host": "cache", "port": 6379, "db": 0, "username": None, "password": None}),
        ("redis://[::1]:7/2", {"host": "::1", "port": 7, "db": 2}),
        ("redis://cache/?db=3", {"db": 3}),
        ("redis://me:p%40w%2F+@cache", {"username": "me", "password": "p@w/+"}),
        ("redis://cache?username=me&password=p%25w", {"username": "me", "password": "p%w"}),
        ("redis://:@cache", {"username": None, "password": None}),
        ("unix:///run/valkey.sock?db=2", {"path": "/run/valkey.sock", "db": 2}),
        ("redis://cache?socket_timeout=20&socket_connect_timeout=0.5", {"socket_timeout": 20.0}),
        ("redis://cache?health_check_interval=5&client_name=shop", {"health_check_interval": 5, "client_name": "shop"}),
        ("redis://cache?protocol=3&socket_keepalive=yes", {"protocol": 3, "socket_keepalive": True}),
        ("redis://cache?decode_responses=False&encoding=utf-8&retry_on_timeout=0", {"retry_on_timeout": False}),
    ):
        client = connect_redis(text)
        arguments = client.connection_pool.connection_kwargs
        assert {name: arguments[name] for name in expected} == expected, text
        client.connection_pool.make_connection()
    for query, verify, checks_name in (
        ("", ssl.CERT_REQUIRED, True),
        ("?ssl_cert_reqs=CERT_NONE", ssl.CERT_NONE, False),
        ("?ssl_cert_reqs=none", ssl.CERT_NONE, False),
        ("?ssl_cert_reqs=CERT_REQUIRED", ssl.CERT_REQUIRED, True),
        ("?ssl_cert_reqs=optional&ssl_check_hostname=false", ssl.CERT_REQUIRED, False),
        (f"?ssl_ca_certs={pem['cert']}&ssl_min_version=TLSv1.3", ssl.CERT_REQUIRED, True),
        (f"?ssl_certfile={pem['cert']}&ssl_keyfile={pem['key']}", ssl.CERT_REQUIRED, True),
        ("?ssl_include_verify_flags=VERIFY_X509_STRICT", ssl.CERT_REQUIRED, True),
    ):
        connection = connect_redis(f"rediss://cache:6380/0{query}").connection_pool.make_connection()
        context = connection._connection_arguments()["ssl"]
        assert (context.verify_mode, context.check_hostname) == (verify, checks_name), query


def test_a_redis_url_that_cannot_be_used_as_it_is_written_is_refused(pem: dict[str, str]) -> None:
    for text, told in (
        ("redis://:p@ss@cache/0", "@ is %40"),
        ("redis://:p/ss@cache/0", "/ is %2F"),
        ("redis://:p#ss@cache/0", "# is %23"),
        ("redis://password@cache/0", "redis://:password@host"),
        ("redis://cache/zero", "no number"),
        ("redis://cache/0/1", "no number"),
        ("redis://cache/-1", "no number"),
        ("redis://cache/1?db=2", "twice"),
        ("redis://me:p@cache?username=you", "username twice"),
        ("redis://", "names no server"),
        ("unix://", "names no server"),
        ("unix://cache/0", "three slashes"),
        ("redis://one,two/0", "several servers"),
        ("redis://cache:port", "[::1]:port"),
        ("redis://ca&che", "no host has"),
        ("redis://cache?tls=true", "rediss://"),
        ("redis://cache?ssl=true", "rediss://"),
        ("redis://cache?ssl_cert_reqs=none", "rediss://"),
        ("rediss://cache?ssl_cert_reqs=sometimes", "required, optional or none"),
        (f"rediss://cache?ssl_cert_reqs=none&ssl_ca_certs={pem['cert']}", "ignores it"),
        (f"rediss://cache?ssl_ca_certs={pem['missing']}", "ssl_ca_certs, which names no file"),
        (f"rediss://cache?ssl_ca_certs={pem['none']}", "no file of PEM"),
        (f"rediss://cache?ssl_certfile={pem['cert']}&ssl_keyfile={pem['other']}", "does not belong"),
        ("rediss://cache?ssl_ciphers=NOTHING", "ssl_ciphers"),
        ("rediss://cache?ssl_min_version=SSLv3", "TLSv1.2 or TLSv1.3"),
        ("rediss://cache?ssl_cert_reqs=none&ssl_include_verify_flags=VERIFY_X509_STRICT", "ignores it"),
        ("unix:///run/valkey.sock?ssl_cert_reqs=none", "a Unix socket has no TLS"),
        ("redis://cache/65536", "from 0 to 65535"),
        ("redis://cache?socket_timeout=1", "from 6 to 120"),
        ("redis://cache?decode_responses=true", "must be false"),
        ("redis://cache?protocol=4", "from 2 to 3"),
        ("redis://cache?family=0", "family, which is not known"),
        ("redis://cache?socket_timout=9", "did you mean socket_timeout?"),
        ("http://cache", "must begin with redis:// or rediss:// or unix://"),
    ):
        assert told in refusal(text, redis=True), text


def test_production_warns_of_tls_that_verifies_no_server() -> None:
    plain, checked = "postgresql://u:p@db.example.com/app", "sslmode=verify-full&sslrootcert=system"
    for mode, expected in (("production", ["DATABASE_URL", "REDIS_URL"]), ("development", [])):
        weak = load_configuration(
            {
                "APP_ENV": mode,
                "PUBLIC_BASE_URL": "https://api.example.com",
                "DATABASE_URL": f"{plain}?sslmode=require",
                "DATABASE_URL_DIRECT": f"{plain}?{checked}",
                "REDIS_URL": "rediss://cache?ssl_cert_reqs=none",
                "ENCRYPTION_KEYS": f"k1:{'A' * 43}=",
            }
        )
        assert [one.setting for one in weak.warnings if "certificate" in one.message] == expected
