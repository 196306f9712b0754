"""Brazil's telephone numbers: the two ways to write one mobile number, and the clock of each area code.

Mobile numbers got a 9 before their eight digits between 2012 and 2016. WhatsApp goes on naming accounts that are older
than that by the short form, which no rule by area code predicts.
"""

import re

# All 67 area codes, by the zone that most of their people live in. The codes and their municipalities are Anatel's:
# https://www.gov.br/anatel/pt-br/regulado/numeracao/codigos-nacionais, with the annex of Resolução 263/2001,
# https://informacoes.anatel.gov.br/legislacao/resolucoes/2001/383-resolucao-263. The clocks are those of Decreto
# 2.784/1913 as changed by Lei 12.876/2013, https://www.planalto.gov.br/ccivil_03/_ato2011-2014/2013/lei/l12876.htm,
# the zones' names those of https://data.iana.org/time-zones/tzdb/zone.tab.
_ZONES = {
    # São Paulo 11-19, Rio de Janeiro 21-24, Espírito Santo 27-28, Minas Gerais 31-38, Paraná 41-46, Santa Catarina
    # 47-49, Rio Grande do Sul 51-55, Distrito Federal and the Goiás around it 61, Goiás 62 and 64.
    "America/Sao_Paulo": (
        "11 12 13 14 15 16 17 18 19 21 22 24 27 28 31 32 33 34 35 37 38 41 42 43 44 45 46 47 48 49 51 53 54 55 61 62 64"
    ),
    "America/Araguaina": "63",  # Tocantins
    "America/Cuiaba": "65 66",  # Mato Grosso
    "America/Campo_Grande": "67",  # Mato Grosso do Sul
    "America/Rio_Branco": "68",  # Acre
    "America/Porto_Velho": "69",  # Rondônia
    "America/Bahia": "71 73 74 75 77",
    "America/Maceio": "79 82",  # Sergipe, Alagoas
    # Pernambuco. Fernando de Noronha, an hour ahead, has 81, too, and 3,000 of its four million people.
    "America/Recife": "81 87",
    # Paraíba, Rio Grande do Norte, Ceará (85, 88), Piauí (86, 89), Maranhão (98, 99).
    "America/Fortaleza": "83 84 85 86 88 89 98 99",
    "America/Belem": "91 94 96",  # Belém and Marabá in Pará; Amapá
    "America/Santarem": "93",  # the west of Pará
    # Amazonas. Thirteen municipalities in the west (Tabatinga, Eirunepé, Boca do Acre …), an hour behind, have 97, too;
    # more of its people live in the others (Tefé, Coari, Humaitá, Manicoré …).
    "America/Manaus": "92 97",
    "America/Boa_Vista": "95",  # Roraima
}
AREA_CODES = {code: zone for zone, codes in _ZONES.items() for code in codes.split()}
"""The time zone of each area code."""

_LONG = re.compile(r"(55[1-9]\d)9([6-9]\d{7})")
_SHORT = re.compile(r"(55[1-9]\d)([6-9]\d{7})")


def variants(digits: str) -> frozenset[str]:
    """Every way to write the number, `digits` itself among them: two for a mobile that once had no 9, else one.

    `digits` begin with the country code, without a plus. Landlines, which begin with 2 to 5, stay as they are.
    """
    if match := _LONG.fullmatch(digits):
        return frozenset({digits, match[1] + match[2]})
    return frozenset({digits, full_form(digits)})


def full_form(digits: str) -> str:
    """The number as it is dialled today: with its 9."""
    match = _SHORT.fullmatch(digits)
    return f"{match[1]}9{match[2]}" if match else digits
