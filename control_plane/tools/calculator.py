"""Arithmetic for models: exact where it can be, bounded in every way. Pure."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable
from fractions import Fraction
from typing import Any, Final

EXPRESSION_MAX: Final = 500
_DEPTH_MAX: Final = 40
# Decimal digits of any number on the way, about: 2^1700.
_BITS_MAX: Final = 1700
_SHOWN_DIGITS: Final = 15

Number = int | float | Fraction


class CalculationError(ValueError):
    """The expression has no value; says why."""


_CONSTANTS: Final[dict[str, float]] = {"pi": math.pi, "e": math.e, "tau": math.tau}
_FUNCTIONS: Final[dict[str, tuple[int, int, Callable[..., Number]]]] = {
    # name -> fewest and most arguments, and what it does
    "abs": (1, 1, abs),
    "acos": (1, 1, math.acos),
    "asin": (1, 1, math.asin),
    "atan": (1, 2, lambda y, x=None: math.atan(y) if x is None else math.atan2(y, x)),
    "ceil": (1, 1, math.ceil),
    "cos": (1, 1, math.cos),
    "degrees": (1, 1, math.degrees),
    "exp": (1, 1, math.exp),
    "floor": (1, 1, math.floor),
    "ln": (1, 1, math.log),
    "log": (1, 2, lambda x, base=None: math.log(x) if base is None else math.log(x, base)),
    "log10": (1, 1, math.log10),
    "log2": (1, 1, math.log2),
    "max": (1, 20, lambda *values: max(values)),
    "min": (1, 20, lambda *values: min(values)),
    "radians": (1, 1, math.radians),
    "round": (1, 2, lambda x, digits=0: round(x, _small(digits)) if digits else round(x)),
    "sin": (1, 1, math.sin),
    "sqrt": (1, 1, math.sqrt),
    "tan": (1, 1, math.tan),
}
_BINARY: Final[dict[type[ast.operator], Callable[[Any, Any], Number]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


def calculate(expression: str) -> str:
    """The value of an arithmetic expression, as text. Raises CalculationError."""
    if len(expression) > EXPRESSION_MAX:
        raise CalculationError(f"An expression may have {EXPRESSION_MAX} characters at most.")
    try:
        tree = ast.parse(_python(expression), mode="eval")
        return _shown(_value(tree.body, 0))
    except CalculationError:
        raise
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise CalculationError("This is not an arithmetic expression.") from error
    except ZeroDivisionError as error:
        raise CalculationError("Division by zero.") from error
    except (OverflowError, ValueError, TypeError) as error:
        raise CalculationError("This has no value within the numbers that are offered.") from error


def _python(expression: str) -> str:
    """What people write for powers, times, divided and minus, as Python writes it."""
    for said, meant in (("^", "**"), ("×", "*"), ("·", "*"), ("÷", "/"), ("−", "-")):
        expression = expression.replace(said, meant)
    return expression.strip()


def _value(node: ast.expr, depth: int) -> Number:
    if depth > _DEPTH_MAX:
        raise CalculationError("The expression is nested too deeply.")
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return _bounded(Fraction(ast.unparse(node)) if _exact(node, number) else number)
        case ast.Name(id=name) if name in _CONSTANTS:
            return _CONSTANTS[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, depth + 1)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _value(operand, depth + 1)
        case ast.BinOp(left=left, op=sign, right=right):
            return _combined(sign, _value(left, depth + 1), _value(right, depth + 1))
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in _FUNCTIONS:
            return _called(name, [_value(argument, depth + 1) for argument in arguments])
    raise CalculationError(
        "Only numbers, + - * / // % **, parentheses, pi, e, tau and these are offered: "
        f"{', '.join(_FUNCTIONS)}."
    )


def _exact(node: ast.Constant, number: float) -> bool:
    """0.1 is a tenth to people; what floats cannot write plainly stays a float."""
    return isinstance(number, float) and "e" not in ast.unparse(node) and math.isfinite(number)


def _combined(sign: ast.operator, left: Number, right: Number) -> Number:
    if isinstance(sign, ast.Pow):
        return _bounded(_power(left, right))
    if isinstance(sign, ast.Div):
        if isinstance(left, float) or isinstance(right, float):
            return _bounded(left / right)
        return _bounded(Fraction(left) / Fraction(right))
    if type(sign) not in _BINARY:
        raise CalculationError("This operator is not offered.")
    return _bounded(_BINARY[type(sign)](left, right))


def _power(base: Number, exponent: Number) -> Number:
    if isinstance(exponent, Fraction) and exponent.denominator == 1:
        exponent = int(exponent)
    if isinstance(exponent, int) and not isinstance(base, float):
        parts = Fraction(base)
        size = max(abs(parts.numerator).bit_length(), parts.denominator.bit_length())
        if size * abs(exponent) > _BITS_MAX:
            raise CalculationError("The number is too large.")
        return parts**exponent
    return math.pow(base, exponent)


def _called(name: str, values: list[Number]) -> Number:
    fewest, most, function = _FUNCTIONS[name]
    if not fewest <= len(values) <= most:
        raise CalculationError(f"{name} takes {fewest} to {most} numbers.")
    return _bounded(function(*values))


def _small(digits: Number) -> int:
    if int(digits) != digits or not -_SHOWN_DIGITS <= digits <= _SHOWN_DIGITS:
        raise CalculationError(f"A number is rounded to {_SHOWN_DIGITS} digits at most.")
    return int(digits)


def _bounded(number: Number) -> Number:
    if isinstance(number, float):
        if not math.isfinite(number):
            raise CalculationError("The number is too large.")
        return number
    parts = Fraction(number)
    if max(abs(parts.numerator).bit_length(), parts.denominator.bit_length()) > _BITS_MAX:
        raise CalculationError("The number is too large.")
    return number


def _shown(number: Number) -> str:
    if isinstance(number, Fraction):
        if number.denominator == 1:
            return str(number.numerator)
        return f"{float(number):.{_SHOWN_DIGITS}g}"
    if isinstance(number, float):
        return f"{number:.{_SHOWN_DIGITS}g}"
    return str(number)
