"""Networks as settings write them: single addresses, or all that begin alike."""

from ipaddress import IPv4Network, IPv6Network, ip_network

from core.settings.problems import WrongValue

Network = IPv4Network | IPv6Network

_EVERYBODY = 0


def parse_networks(text: object) -> object:
    """Read networks out of their text; raises WrongValue saying what is wrong."""
    if not isinstance(text, str):
        return text
    try:
        networks = tuple(ip_network(part.strip()) for part in text.split(","))
    except ValueError:
        raise WrongValue("must be addresses or networks like 10.0.0.0/8, several separated by commas") from None
    if any(network.prefixlen == _EVERYBODY for network in networks):
        raise WrongValue("trusts the whole world: name the proxies alone, or anybody may claim any address")
    return networks
