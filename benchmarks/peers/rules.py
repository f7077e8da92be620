"""The rules of FizzBuzz, used by both peers."""


def kind(number: int) -> str:
    if number % 15 == 0:
        return "FizzBuzz"
    if number % 3 == 0:
        return "Fizz"
    return "Buzz" if number % 5 == 0 else "Number"


def result(number: int) -> str:
    name = kind(number)
    return str(number) if name == "Number" else name
