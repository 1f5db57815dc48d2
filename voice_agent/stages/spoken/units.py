"""Units of measure: what is written after a number, and what is said."""

from typing import Final

_SYMBOLS: Final = {
    "meter": "m", "kilometer": "km", "centimeter": "cm", "millimeter": "mm", "micrometer": "µm",
    "nanometer": "nm", "inch": "in", "foot": "ft", "yard": "yd", "mile": "mi", "hectare": "ha",
    "pixel": "px",
    "megapixel": "MP", "millimeter of mercury": "mmHg",
    "gram": "g", "kilogram": "kg", "milligram": "mg", "microgram": "µg mcg", "ton": "t",
    "pound": "lb lbs", "ounce": "oz", "liter": "l L", "milliliter": "ml mL", "centiliter": "cl",
    "deciliter": "dl", "gallon": "gal", "quart": "qt", "pint": "pt", "tablespoon": "tbsp",
    "teaspoon": "tsp", "second": "s sec secs", "millisecond": "ms", "microsecond": "µs us",
    "nanosecond": "ns", "minute": "min mins", "hour": "h hr hrs", "week": "wk wks", "year": "yr yrs",
    "mile per hour": "mph", "kilometer per hour": "kph kmh km/h", "frame per second": "fps FPS",
    "beat per minute": "bpm", "revolution per minute": "rpm", "part per million": "ppm",
    "pound per square inch": "psi", "percent": "%", "percentage point": "pp", "degree": "° º",
    "degree Celsius": "°C", "degree Fahrenheit": "°F", "calorie": "cal", "kilocalorie": "kcal",
    "joule": "J", "kilojoule": "kJ", "watt": "W", "kilowatt": "kW", "megawatt": "MW", "gigawatt": "GW",
    "milliwatt": "mW", "watt hour": "Wh", "kilowatt hour": "kWh", "megawatt hour": "MWh", "volt": "V",
    "millivolt": "mV", "kilovolt": "kV", "milliamp": "mA", "milliamp hour": "mAh", "ohm": "Ω",
    "kilohm": "kΩ", "hertz": "Hz", "kilohertz": "kHz", "megahertz": "MHz", "gigahertz": "GHz",
    "decibel": "dB", "pascal": "Pa", "kilopascal": "kPa", "hectopascal": "hPa", "kilobyte": "kB KB",
    "megabyte": "MB", "gigabyte": "GB", "terabyte": "TB", "petabyte": "PB", "kibibyte": "KiB",
    "mebibyte": "MiB", "gibibyte": "GiB", "tebibyte": "TiB", "kilobit": "kb", "megabit": "Mb",
    "gigabit": "Gb", "kilobit per second": "kbps Kbps", "megabit per second": "Mbps",
    "gigabit per second": "Gbps",
}  # fmt: skip
_PLURALS: Final = {
    "foot": "feet", "inch": "inches", "hertz": "hertz", "percent": "percent",
    "kilohertz": "kilohertz", "megahertz": "megahertz", "gigahertz": "gigahertz",
}  # fmt: skip
_POWERS: Final = {"²": "square", "³": "cubic"}
TOUCHING: Final = frozenset({"in", "t", "s", "J", "us", "pt", "pp", "h", "l", "ha"})
"""Words too, or of many meanings: units only right after the digits ("5in", not "5 in the evening")."""
PER: Final = {
    "s": "second", "s²": "second squared", "mo": "month", "day": "day",
    "sec": "second", "min": "minute", "h": "hour", "hr": "hour", "yr": "year", "wk": "week",
    "m²": "square meter", "m³": "cubic meter", "kg": "kilogram", "km": "kilometer", "g": "gram",
    "l": "liter", "L": "liter", "mL": "milliliter", "m": "meter", "lb": "pound", "ft": "foot",
}  # fmt: skip
"""Units that may stand below the slash of another."""


def _plural(name: str) -> str:
    """ "mile per hour" -> "miles per hour", "square foot" -> "square feet"."""
    head, per, below = name.partition(" of " if " of " in name else " per ")
    if head.startswith("degree"):
        return name.replace("degree", "degrees", 1)
    *adjectives, noun = head.split()
    return " ".join([*adjectives, _PLURALS.get(noun, noun + "s")]) + per + below


def _units() -> dict[str, tuple[str, str]]:
    names = {symbol: name for name, symbols in _SYMBOLS.items() for symbol in symbols.split()}
    names |= {"sq ft": "square foot", "sq mi": "square mile"}
    for length in ("km", "m", "cm", "mm", "ft", "in", "mi"):
        names |= {length + mark: f"{power} {names[length]}" for mark, power in _POWERS.items()}
    return {symbol: (name, _plural(name)) for symbol, name in names.items()}


UNITS: Final = _units()
"""Each symbol, with its name for one and for several."""
