"""Classes under ``@app.cls``: parameters, hooks, local use, what a container makes of them."""

from __future__ import annotations

import asyncio
import inspect
import pickle
import subprocess
import sys
import warnings
from typing import Any

import cloudpickle
import pytest

import byoc
from byoc import exception
from byoc.sdk import parameters, serve
from byoc.sdk.cls import Cls, Obj
from tests.sdk.inprocess import InProcess

app = byoc.App("classes")


class Base:
    """Not decorated: its hooks, methods and parameters are inherited."""

    size: int = byoc.parameter(default=3)

    @byoc.enter()
    def first(self) -> None:
        self.steps = ["base"]

    @byoc.method()
    def inherited(self) -> str:
        return f"inherited {self.size}"

    @byoc.exit()
    def leave(self) -> None:
        self.steps.append("left")


@app.cls(timeout=11)
class Model(Base):
    """Uses everything."""

    label: str = byoc.parameter(default="none")
    raw: bytes = byoc.parameter(default=b"")
    fast: bool = byoc.parameter(default=False)
    made: str = byoc.parameter(init=False, default="here")

    @byoc.enter()
    async def then(self) -> None:
        await asyncio.sleep(0)
        self.steps.append("model")

    @byoc.enter(snap=True)
    def before_all(self) -> None:
        self.early = True

    @byoc.method()
    def twice(self, x: int) -> int:
        return 2 * x

    @byoc.method()
    def both(self, x: int) -> int:
        return self.twice.local(x) + self.twice(x) + self.plain(x)

    @byoc.method()
    def about(self) -> Any:
        return self.size, self.label, self.raw, self.fast, self.made, list(self.steps), self.early

    @byoc.method()
    async def later(self, x: int) -> int:
        return x + len(self.steps)

    @byoc.method()
    def numbers(self) -> Any:
        yield from range(self.size)

    @byoc.method()
    async def numbers_later(self) -> Any:
        for n in range(self.size):
            yield n

    def plain(self, x: int) -> int:
        return x


def test_local_runs_the_hooks_once_and_base_first() -> None:
    """Behaviours 6, 29: .local() runs enter hooks once per object, snap first, bases first."""
    model = Model(size=4, label="x")
    expected = (4, "x", b"", False, "here", ["base", "model"], True)
    assert model.about.local() == model.about.local() == expected
    assert model.both.local(2) == 10
    assert list(model.numbers.local()) == [0, 1, 2, 3]
    assert asyncio.run(model.later.local(1)) == 3
    assert model.inherited.local() == "inherited 4"


def test_async_methods_run_their_hooks_too() -> None:
    """Behaviour 18: the hooks of an object come before its first async method."""
    assert asyncio.run(Model().later.local(1)) == 3

    async def numbers() -> list[int]:
        return [n async for n in Model(size=2).numbers_later.local()]

    assert asyncio.run(numbers()) == [0, 1]

    async def inside() -> Any:
        return Model().about.local()[5]

    assert asyncio.run(inside()) == ["base", "model"]


def test_attributes_make_the_object_without_its_hooks() -> None:
    """Reading an attribute of an object gives that of a local one, whose hooks have not run."""
    model = Model(size=5)
    assert (model.size, model.plain(1)) == (5, 1)
    assert not hasattr(model, "steps")
    assert model.about.local()[5] == ["base", "model"]
    assert model.steps == ["base", "model"]


def test_methods_of_the_class_itself() -> None:
    """Behaviour 17: a method needs an object; other attributes are the class's."""
    with pytest.raises(AttributeError, match="You can't access methods on a Cls directly"):
        Model.twice.remote(1)
    assert Model.__doc__ == "Uses everything."
    assert Model.methods == [
        "inherited",
        *("twice", "both", "about", "later", "numbers", "numbers_later"),
    ]
    assert Model().numbers.is_generator and Model().numbers_later.is_generator
    assert not Model().twice.is_generator
    assert Model().twice.name == "Model.twice"


WRONG_PARAMETERS = [
    ({"size": "big"}, "takes int"),
    ({"size": True}, "takes int"),
    ({"fast": 1}, "takes bool"),
    ({"raw": "text"}, "takes bytes"),
    ({"labl": "x"}, "did you mean label"),
    ({"made": "x"}, "no parameter 'made'"),
    ({"label": "x" * 20_000}, "16384"),
]


@pytest.mark.parametrize(("given", "says"), WRONG_PARAMETERS)
def test_wrong_parameters(given: dict[str, Any], says: str) -> None:
    """Behaviour 17: typed, known, and 16 KiB in all; refused where the object is made."""
    with pytest.raises(exception.InvalidError) as caught:
        Model(**given)
    assert says in " ".join([str(caught.value), *caught.value.hints])
    with pytest.raises(TypeError, match="by keyword"):
        Model(3)


def test_equal_parameters_share_one_spec() -> None:
    """Behaviour 17: one spec, and so one set of containers, per set of parameters."""
    assert Model(size=1).twice.spec is Model(size=1).about.spec
    assert Model().twice.spec is Model(size=3, label="none").twice.spec
    assert Model(size=1).twice.spec is not Model(size=2).twice.spec
    spec = Model(size=1, raw=b"\xff").twice.spec
    assert spec.parameters == '{"fast":false,"label":"none","raw":{"b64":"/w=="},"size":1}'
    assert spec.timeout == 11
    assert dict(spec.methods)["numbers"]


def test_resolve_finds_what_a_container_names() -> None:
    """Behaviour 28: tag, parameters and variant name the very spec; an unknown tag is an error."""
    other = Model.with_options(timeout=7, env={"A": "1"})
    for wanted in (Model().twice.spec, Model(size=9).twice.spec, other(size=9).twice.spec):
        assert app.resolve(wanted.name, wanted.parameters, wanted.variant) is wanted
    with pytest.raises(exception.NotFoundError):
        app.resolve("nobody", "", "")


def test_references_travel_and_mean_the_same() -> None:
    """Behaviour 28: classes, objects, methods and variants pickle as references."""
    variant = Model.with_options(timeout=9)
    things = [Model(size=2).twice, variant(size=2).twice]
    for one in things:
        again = pickle.loads(pickle.dumps(one))
        assert again.spec is one.spec
        assert again.method == "twice"
    assert pickle.loads(pickle.dumps(Model)) is Model
    assert pickle.loads(pickle.dumps(variant)).spec is variant.spec
    assert isinstance(pickle.loads(pickle.dumps(Model(size=2))), Obj)


# --- how a container serves it ----------------------------------------------------------------


def ended(hooks: list[Any]) -> None:
    """Run hooks as a container does."""
    for hook in hooks:
        found = hook()
        if inspect.isawaitable(found):
            asyncio.run(_whole(found))


async def _whole(found: Any) -> Any:
    return await found


def test_a_container_serves_the_class() -> None:
    """Behaviours 6, 17: found by its name, with its parameters, hooks and methods."""
    service = serve.service(Model, Model(size=2, raw=b"\0").twice.spec.parameters)
    assert list(service.targets) == Model.methods
    ended(service.enter)
    assert service.targets["about"].call()[:4] == (2, "none", b"\0", False)
    assert service.targets["both"].call(1) == 5
    assert service.targets["numbers"].generator
    assert list(service.targets["numbers"].call()) == [0, 1]
    assert inspect.iscoroutinefunction(service.targets["later"].call)
    instance = service.targets["about"].call.__self__
    assert [hook.__name__ for hook in service.enter] == ["before_all", "first", "then"]
    ended(service.exit)
    assert instance.steps == ["base", "model", "left"]


def test_a_container_serves_a_class_that_arrived_pickled() -> None:
    """Behaviours 17, 30: another process needs nothing but the pickled class."""
    module = inspect.getmodule(Base)
    assert module is not None
    cloudpickle.register_pickle_by_value(module)
    try:
        data = cloudpickle.dumps(Model.raw)
    finally:
        cloudpickle.unregister_pickle_by_value(module)
    code = (
        "import sys, pickle; from byoc.sdk import serve\n"
        "found = serve.service(pickle.load(sys.stdin.buffer), sys.argv[1])\n"
        "[hook() for hook in found.enter[:2]]\n"
        "print(sorted(found.targets), found.targets['both'].call(1), found.targets['about'].call())"
    )
    parameters = Model(size=2).twice.spec.parameters
    argv = [sys.executable, "-I", "-c", code, parameters]
    done = subprocess.run(argv, input=data, capture_output=True, check=True)
    expected = (sorted(Model.methods), 5, (2, "none", b"", False, "here", ["base"], True))
    assert done.stdout.decode().strip() == " ".join(map(str, expected))


def test_a_container_serves_functions() -> None:
    """A function, decorated or plain, has one target; what is neither is a TypeError."""
    function = byoc.App("x").function(serialized=True)(numbers)
    for found in (function, numbers):
        service = serve.service(found, "")
        assert list(service.targets[""].call(2)) == [0, 1]
        assert service.targets[""].generator
        assert service.enter == service.exit == []
    with pytest.raises(TypeError):
        serve.service(3, "")


def numbers(n: int) -> Any:
    """A generator at the top of this module."""
    yield from range(n)


def test_import_errors_are_raised_for_the_image_that_is_used() -> None:
    """Behaviour 21: what an imports() block passed over is raised where its image serves."""
    image = byoc.Image.debian_slim().env({"A": "1"})
    with image.imports():
        import no_such_module_anywhere  # noqa: F401
    function = byoc.App("x", image=image).function(serialized=True)(numbers)
    with pytest.raises(ImportError, match="no_such_module_anywhere"):
        serve.service(function, "")


# --- constructors and old hooks ---------------------------------------------------------------


def test_constructor_with_arguments_is_the_old_way() -> None:
    """Behaviours 1, 17: arguments of __init__ become the parameters, with a warning."""
    with pytest.warns(exception.DeprecationError, match="parameter"):

        @byoc.App("old").cls(serialized=True)
        class Old:
            def __init__(self, size: int, *rest: str, scale: float = 1.5, **more: Any) -> None:
                self.all = (size, rest, scale, more)

            @byoc.method()
            def get(self) -> Any:
                return self.all

    old = Old(2, "a", "b", extra=[1, (2, b"x"), {"k": None}])
    expected = (2, ("a", "b"), 1.5, {"extra": [1, (2, b"x"), {"k": None}]})
    assert old.get.local() == expected
    service = serve.service(Old, old.get.spec.parameters)
    assert service.targets["get"].call() == expected
    assert old.get.spec is Old(2, "a", "b", extra=[1, (2, b"x"), {"k": None}]).get.spec
    with pytest.raises(TypeError, match="size"):
        Old()
    with pytest.raises(exception.InvalidError, match="cannot be sent"):
        Old(object())


def test_constructor_without_arguments() -> None:
    """A constructor of its own runs, here and there, and sees the parameters."""

    @byoc.App("own").cls(serialized=True)
    class Own:
        size: int = byoc.parameter()

        def __init__(self) -> None:
            self.doubled = 2 * self.size

        @byoc.method()
        def get(self) -> int:
            return self.doubled

    assert Own(size=4).get.local() == 8
    with pytest.raises(TypeError, match="'size'"):
        Own()


def test_hooks_of_a_pickled_class_keep_their_order() -> None:
    """Behaviour 6: hooks run as they are written, not by name, also where the class was pickled."""

    @byoc.App("order").cls(serialized=True)
    class Order:
        @byoc.enter()
        def zebra(self) -> None: ...

        @byoc.enter()
        def aardvark(self) -> None: ...

    members = dict(sorted(vars(Order.raw).items()))
    again = type("Order", (), {k: v for k, v in members.items() if not k.startswith("__")})
    assert [hook.__name__ for hook in serve.service(again, "").enter] == ["zebra", "aardvark"]


def test_old_hooks() -> None:
    """Behaviour 1: __enter__ and __exit__ are hooks of a class that has no new ones."""
    with pytest.warns(exception.DeprecationError, match="__(enter|exit)__"):

        @byoc.App("old").cls(serialized=True)
        class Old:
            def __enter__(self) -> None:
                self.seen = ["in"]

            def __exit__(self, kind: object, error: object, trace: object) -> None:
                self.seen.append(repr((kind, error, trace)))

            @byoc.method()
            def get(self) -> list[str]:
                return self.seen

    service = serve.service(Old, "")
    ended([*service.enter, *service.exit])
    assert service.targets["get"].call() == ["in", "(None, None, None)"]
    assert Old().get.local() == ["in"]


def test_a_context_manager_with_new_hooks_stays_one() -> None:
    """__enter__ of a class that has new hooks is its own business."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")

        @byoc.App("both").cls(serialized=True)
        class Both:
            @byoc.enter()
            def come(self) -> None: ...

            def __enter__(self) -> None: ...

            def __exit__(self, *error: object) -> None: ...

    assert len(serve.service(Both, "").enter) == 1


def test_overridden_hooks_and_methods() -> None:
    """What a class overrides runs once, in its base's place; a plain override stays a method."""

    @byoc.App("over").cls(serialized=True)
    class Over(Base):
        @byoc.enter()
        def first(self) -> None:
            self.steps = ["over"]

        def inherited(self) -> str:  # type: ignore[override]
            return "over"

    service = serve.service(Over, "")
    ended(service.enter)
    assert service.targets["inherited"].call() == "over"
    assert Over().inherited.local() == "over"
    assert service.targets["inherited"].call.__self__.steps == ["over"]


def test_a_class_may_extend_a_decorated_one() -> None:
    """The plain class is what is extended."""

    @byoc.App("more").cls(serialized=True)
    class More(Model):
        @byoc.method()
        def extra(self) -> int:
            return self.twice(self.size) + super().twice(1)

    assert More(size=5).extra.local() == 12
    assert isinstance(More, Cls)


def test_a_classes_own_methods_can_be_called_remotely_only_when_it_runs() -> None:
    """self.method.remote() goes to the object's own containers."""

    @byoc.App("self").cls(serialized=True)
    class Self:
        @byoc.method()
        def outer(self) -> Any:
            return self.inner.remote(1)

        @byoc.method()
        def inner(self, x: int) -> int:
            return x

    with pytest.raises(exception.ExecutionError, match=r"Self\.inner\.remote"):
        Self().outer.local()
    with pytest.raises(exception.InvalidError, match="not made by its class's app"):
        Self.raw().outer()
    assert Self.raw().inner(2) == 2


WRONG_CLASSES: list[tuple[str, Any, type[Exception], str]] = [
    ("a function", lambda: byoc.App("w").cls()(numbers), TypeError, "decorates a class"),
    ("no parentheses", lambda: byoc.App("w").cls(Base), TypeError, "parentheses"),
    ("twice", lambda: byoc.App("w").cls()(Model), exception.InvalidError, "twice"),
    ("enter bare", lambda: byoc.enter(numbers), TypeError, "keyword arguments"),
    ("exit bare", lambda: byoc.exit(numbers), TypeError, "keyword arguments"),
    ("method bare", lambda: byoc.method(numbers), TypeError, "keyword arguments"),
    ("concurrent bare", lambda: byoc.concurrent(numbers), TypeError, "keyword arguments"),
    ("batched bare", lambda: byoc.batched(numbers), TypeError, "max_batch_size|keyword"),
    ("above", lambda: byoc.concurrent(max_inputs=2)(Model), exception.InvalidError, "decorates"),
    ("method above", lambda: byoc.method()(Model), exception.InvalidError, "decorates"),
    ("hook of a method", lambda: byoc.enter()(byoc.method()(numbers)), TypeError, "decorates"),
    ("no inputs", byoc.concurrent, exception.InvalidError, "max_inputs"),
    (
        "target",
        lambda: byoc.concurrent(max_inputs=2, target_inputs=3),
        exception.InvalidError,
        "target_inputs",
    ),
    (
        "batch",
        lambda: byoc.batched(max_batch_size=1001, wait_ms=1),
        exception.InvalidError,
        "max_batch_size",
    ),
    (
        "batched class",
        lambda: byoc.batched(max_batch_size=2, wait_ms=1)(Base),
        exception.InvalidError,
        "not a class",
    ),
]


@pytest.mark.parametrize("case", WRONG_CLASSES, ids=[case[0] for case in WRONG_CLASSES])
def test_wrong_decorations(case: tuple[str, Any, type[Exception], str]) -> None:
    """Wrong order, missing parentheses and wrong values are errors where they are written."""
    _, wrong, error, says = case
    with pytest.raises(error, match=says):
        wrong()


def test_wrong_parameter_declarations() -> None:
    """Behaviour 17: parameters need one of four types, a fitting default, and no constructor."""

    def declared(**members: Any) -> Any:
        return byoc.App("w").cls(serialized=True)(type("C", (), members))

    for types, default, says in (
        ({}, None, "no type"),
        ({"x": list}, [], "must be str, int, bool or bytes"),
        ({"x": int}, "1", "takes int"),
    ):
        with pytest.raises(exception.InvalidError, match=says):
            declared(x=byoc.parameter(default=default), __annotations__=types)
    with pytest.raises(exception.ConflictError, match="both"):
        declared(
            x=byoc.parameter(default=1),
            __annotations__={"x": int},
            __init__=lambda self, y: None,
        )
    with pytest.raises(exception.InvalidError, match="no arguments"):
        declared(hook=byoc.enter()(lambda self, x: None))


# --- many inputs ------------------------------------------------------------------------------


def test_concurrent_on_class_function_and_method() -> None:
    """Behaviours 1, 19: on functions and classes, and with a warning on a method."""

    @byoc.concurrent(max_inputs=10, target_inputs=8)
    class Many:
        @byoc.method()
        def f(self) -> None: ...

    cls = byoc.App("m").cls(serialized=True)(Many)
    assert cls().f.spec.concurrency == (10, 8)
    with pytest.warns(exception.DeprecationError, match="on a method"):

        @byoc.App("m").cls(serialized=True)
        class OnMethod:
            @byoc.concurrent(max_inputs=100, target_inputs=80)
            @byoc.method()
            def f(self) -> None: ...

    assert OnMethod().f.spec.concurrency == (100, 80)
    with pytest.raises(exception.ConflictError, match="single_use"):
        byoc.App("m").cls(serialized=True, single_use_containers=True)(Many)


def test_batched_on_functions_and_methods() -> None:
    """Behaviour 29: batched methods need no other decorator, and are alone in their class."""

    @byoc.App("b").cls(serialized=True)
    class Batch:
        @byoc.batched(max_batch_size=4, wait_ms=500)
        def f(self, xs: list[int]) -> list[int]:
            return [x * 2 for x in xs]

    assert Batch().f.spec.batching == (4, 0.5)
    assert Batch().f.local([1, 2]) == [2, 4]
    with pytest.raises(exception.InvalidError, match="only method"):

        @byoc.App("b").cls(serialized=True)
        class Two:
            @byoc.batched(max_batch_size=4, wait_ms=500)
            def f(self, xs: list[int]) -> list[int]: ...

            @byoc.method()
            def g(self) -> None: ...

    def with_default(xs: list[int], y: int = 1) -> list[int]: ...

    for wrong, says in ((with_default, "default"), (numbers, "generator")):
        marked = byoc.batched(max_batch_size=4, wait_ms=5)(
            type(wrong)(wrong.__code__, {}, wrong.__name__, wrong.__defaults__)
        )
        with pytest.raises(exception.InvalidError, match=says):
            byoc.App("b").function(serialized=True)(marked)


@pytest.mark.parametrize(
    "value", [None, True, 3, -1.5, "ä", b"\0\xff", [1, [2]], (1, (b"x",)), {"a": {1: (2,)}}, {}]
)
def test_values_of_constructors_come_back_as_they_were(value: Any) -> None:
    """What JSON cannot tell apart is told apart."""

    class Takes:
        def __init__(self, value: Any) -> None:
            self.value = value

    text = parameters.write(Takes, (value,), {})
    again = parameters.build(Takes, text).value
    assert again == value
    assert type(again) is type(value)


# --- variants ---------------------------------------------------------------------------------


def test_variants_of_classes_and_functions() -> None:
    """Behaviour 29: options merge when stacked, equal ones are one spec, the base stays."""
    one = Model.with_options(timeout=7).with_options(max_containers=2, cpu=2)
    other = Model.with_options(cpu=2, max_containers=2, timeout=7)
    assert one().twice.spec is other().twice.spec
    assert one(size=8).twice.spec is other(size=8).twice.spec
    assert one().twice.spec is not Model().twice.spec
    spec = one(size=8).twice.spec
    assert (spec.timeout, spec.max_containers, spec.resources.cpu) == (7, 2, 2)
    assert Model().twice.spec.timeout == 11
    assert Model.with_concurrency(max_inputs=5)().twice.spec.concurrency == (5, 5)
    function = byoc.App("f").function(serialized=True)(numbers)
    batched = function.with_batching(max_batch_size=3, wait_ms=100)
    assert batched.spec.batching == (3, 0.1)
    assert batched.with_concurrency(max_inputs=2).spec.batching is None
    assert function.with_options(timeout=5).spec is function.with_options(timeout=5).spec
    assert Model(size=2).twice.with_options(timeout=5).spec is (
        Model.with_options(timeout=5)(size=2).twice.spec
    )


def test_variants_take_old_names_and_refuse_others() -> None:
    """Behaviour 1: with_options takes old names with a warning; others are refused as elsewhere."""
    with pytest.warns(exception.DeprecationError, match="concurrency_limit"):
        assert Model.with_options(concurrency_limit=4)().twice.spec.max_containers == 4
    with pytest.warns(exception.DeprecationError, match="allow_concurrent_inputs"):
        variant = Model.with_options(allow_concurrent_inputs=4)
    assert variant().twice.spec.concurrency == (4, 4)
    for wrong, error in (
        ({"image": byoc.Image.debian_slim()}, TypeError),
        ({"max_container": 1}, TypeError),
        ({"volumes": {"/v": 1}}, exception.NotYetError),
        ({"timeout": 0}, exception.InvalidError),
        ({"gpu": "H100:0"}, exception.InvalidError),
        ({"secrets": ["x"]}, exception.InvalidError),
        ({"memory": object()}, exception.InvalidError),
    ):
        with pytest.raises(error):
            assert Model.with_options(**wrong)().twice


def test_secrets_of_variants_replace_and_are_never_told() -> None:
    """Behaviours 7, 29: a variant's secrets replace the others, and its name holds no value."""
    own = byoc.Secret.from_dict({"A": "very secret", "B": "b"})
    app = byoc.App("s", secrets=[byoc.Secret.from_dict({"Z": "z"})])
    function = app.function(serialized=True, env={"E": "e"})(numbers)
    variant = function.with_options(secrets=[own], env={"B": "env"})
    assert variant.spec.environ() == {"A": "very secret", "B": "env"}
    assert "very secret" not in variant.spec.variant
    assert function.with_options(env={"B": "env"}).spec.environ() == {
        "Z": "z",
        "E": "e",
        "B": "env",
    }
    assert app.resolve(function.name, "", variant.spec.variant) is variant.spec
    other = byoc.Secret.from_dict({"A": "another", "B": "b"})
    assert function.with_options(secrets=[other], env={"B": "env"}).spec is not variant.spec


@pytest.mark.parametrize(
    "call",
    [
        lambda: byoc.Function.from_name("a", "f"),
        lambda: byoc.Function.lookup("a", "f"),
        lambda: byoc.Cls.from_name("a", "C"),
        app.deploy,
        lambda: byoc.App.lookup("a"),
        lambda: byoc.FunctionCall.get_call_graph(None),
    ],
)
def test_what_deployed_apps_bring_is_refused_by_name(call: Any) -> None:
    """Each is one sentence that names what was asked for."""
    with pytest.raises(exception.NotYetError, match="is not available in this version"):
        call()


def test_what_is_kept_warm() -> None:
    """Functions, and the object of a class that needs no parameters; no object that nobody made."""
    kept = byoc.App("kept")

    def plain() -> None: ...

    class Bare:
        @byoc.method()
        def run(self) -> None: ...

    class Defaults(Bare):
        size: int = byoc.parameter(default=3)

    class Needs(Bare):
        size: int = byoc.parameter()

    kept.function(serialized=True, min_containers=1)(plain)
    bare, defaults, _ = (
        kept.cls(serialized=True, min_containers=1)(raw) for raw in (Bare, Defaults, Needs)
    )
    session = InProcess()
    with kept.bound(session):
        found = list(session.kept())
    assert [spec.name.rpartition(".")[2] for spec in found] == ["plain", "Bare", "Defaults"]
    assert found[1] is bare().run.spec
    assert found[2] is defaults(size=3).run.spec is defaults().run.spec


def test_scaling_needs_a_run() -> None:
    """Outside of one there are no containers to ask for."""
    with pytest.raises(exception.ExecutionError, match="get_current_stats"):
        Model().twice.get_current_stats()
    with pytest.raises(exception.ExecutionError, match=r"autoscaler\.update"):
        Model().autoscaler.update(min_containers=1)
