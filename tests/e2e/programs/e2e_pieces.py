"""Everything refers to everything else; run as a file, from standard input and by ``python -c``."""

import byoc

app = byoc.App("pieces")


class Plain:
    """A type of the program's own."""

    def __init__(self, n):
        self.n = n


@app.function()
def g(x):
    return x + 1


@app.function()
def f(x):
    return g.remote(x) + g.local(x)


@app.function()
def fib(n):
    return n if n < 2 else sum(fib.map([n - 1, n - 2]))


@app.cls()
class C:
    k: int = byoc.parameter(default=2)

    @byoc.enter()
    def come(self):
        self.z = self.k

    @byoc.method()
    def m(self, x):
        return self.z * x, g.remote(x)

    @byoc.method()
    def other(self, x):
        return C(k=10).m.remote(x), C(k=10).m.local(x), self.m.remote(1)


@app.function()
def uses(c, x, plain):
    return c.m.remote(x), c.m.local(x), plain.n


@app.function()
async def counts(n):
    for i in range(n):
        yield i


@app.function()
def gives():
    return g, C(k=3), C, Plain(4)


@app.local_entrypoint()
async def main(n: int = 4):
    print(await f.remote.aio(n), await fib.remote.aio(5))
    print(await C(k=n).m.remote.aio(5), await C().other.remote.aio(4))
    print(await uses.remote.aio(C(k=7), 2, Plain(3)))
    print([x async for x in counts.remote_gen.aio(4)])
    a, b, c, plain = await gives.remote.aio()
    print(await a.remote.aio(1), await b.m.remote.aio(1), await c(k=4).m.remote.aio(1))
    print(a is g, c is C, isinstance(plain, Plain), plain.n)
