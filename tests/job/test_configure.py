"""A config node against a signature: what passes, what is refused, and in which words."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import torch
from annotated_types import Ge, Gt, Le, Lt

from cifarlab.data.augment import Augment
from cifarlab.data.sources import Source
from cifarlab.job.configure import ConfigError, allowed, config_parameters, describe, describe_call
from cifarlab.models.residual import ResidualCNN
from cifarlab.training.recipe import Finetune

MODELS = "cifarlab.models"
RESNET = "cifarlab.models.residual.ResidualCNN"


class Lens:
    """A part of a toy."""

    def __init__(self, *, focus: Annotated[float, Gt(0)] = 1.0) -> None:
        self.focus = focus


class Zoom(Lens):
    """A kind of lens."""

    def __init__(self, *, focus: float = 2.0, steps: Annotated[int, Ge(1)]) -> None:
        super().__init__(focus=focus)
        self.steps = steps


class Toy:
    """One parameter of every sort."""

    def __init__(
        self,
        given: int,
        *,
        size: Annotated[int, Ge(1), Le(9)] = 3,
        rate: Annotated[float, Ge(0), Lt(1)] = 0.0,
        kind: Literal["relu", "gelu"] = "relu",
        bits: Literal["auto", 16, 32] = "auto",
        flag: bool = False,
        widths: tuple[int, ...] = (1, 2),
        pair: list[float] | None = None,
        lambda_: Annotated[float, Ge(0)] = 0.1,
        lens: Lens | None = None,
        first: Lens = Lens(),  # noqa: B008
    ) -> None:
        self.given = given
        self.values = {name: value for name, value in locals().items() if name not in ("self", "given")}


def toy(**values: Any) -> Toy:
    """A toy as the config describes it."""
    return describe_call(Toy, values, key="toy", allow=(__name__,))(7)


def faults(**values: Any) -> tuple[str, ...]:
    """What is wrong with a toy."""
    with pytest.raises(ConfigError) as caught:
        describe_call(Toy, values, key="toy", allow=(__name__,))
    return caught.value.faults


def refusal(node: Any, room: str = MODELS, allow: tuple[str, ...] = ()) -> str:
    """What is said of a node that is refused."""
    with pytest.raises(ConfigError) as caught:
        describe(node, key="model", room=room, allow=allow)
    return str(caught.value)


def test_defaults_come_from_the_signature_and_the_program_gives_the_rest() -> None:
    built = toy(size=5)
    assert built.given == 7
    assert built.values["size"] == 5
    assert built.values["widths"] == (1, 2)
    assert built.values["lambda_"] == 0.1


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"sise": 3}, "toy.sise=3: there is no key sise. Did you mean toy.size? Allowed: size, rate, kind"),
        ({"qqqq": 3}, "toy.qqqq=3: there is no key qqqq. Allowed: size"),
        ({"size": 0}, "toy.size=0: allowed: an integer from 1 to 9"),
        ({"size": 10}, "toy.size=10: allowed: an integer from 1 to 9"),
        ({"size": 2.5}, "toy.size=2.5: allowed: an integer from 1 to 9"),
        ({"size": 3.0}, "toy.size=3.0: allowed: an integer from 1 to 9"),
        ({"size": True}, "toy.size=true: allowed: an integer from 1 to 9"),
        ({"size": "3"}, "toy.size='3': allowed: an integer from 1 to 9"),
        ({"size": "abc"}, "toy.size=abc: allowed: an integer from 1 to 9"),
        ({"size": None}, "toy.size=null: allowed: an integer from 1 to 9"),
        ({"size": [3]}, "toy.size=[3]: allowed: an integer from 1 to 9"),
        ({"rate": 1}, "toy.rate=1: allowed: a number from 0 below 1"),
        ({"rate": float("nan")}, "toy.rate=nan: allowed: a number from 0 below 1"),
        ({"lambda": float("inf")}, "toy.lambda=inf: allowed: a number from 0"),
        ({"lambda": True}, "toy.lambda=true: allowed: a number from 0"),
        ({"kind": "rleu"}, "toy.kind=rleu: allowed: one of relu, gelu. Did you mean relu?"),
        ({"kind": 3}, "toy.kind=3: allowed: one of relu, gelu"),
        ({"bits": 17}, "toy.bits=17: allowed: one of auto, 16, 32"),
        ({"bits": "32"}, "toy.bits='32': allowed: one of auto, 16, 32"),
        ({"flag": 1}, "toy.flag=1: allowed: true or false"),
        ({"flag": "true"}, "toy.flag='true': allowed: true or false"),
        ({"widths": [1, "2"]}, "toy.widths=[1, '2']: allowed: a list, each an integer"),
        ({"widths": 1}, "toy.widths=1: allowed: a list, each an integer"),
        ({"pair": [float("inf")]}, "toy.pair=[inf]: allowed: a list, each a number or null"),
        ({"lens": 3}, "toy.lens=3: a mapping of Lens's keys is needed"),
        (
            {"lens": {"fokus": 1}},
            "toy.lens.fokus=1: there is no key fokus. Did you mean toy.lens.focus? Allowed: focus",
        ),
        ({"lens": {"focus": 0}}, "toy.lens.focus=0: allowed: a number above 0"),
        ({"first": None}, "toy.first=null: a mapping of Lens's keys is needed"),
        ({"lambda_": 1.0}, "toy.lambda_=1.0: there is no key lambda_. Did you mean toy.lambda?"),
        ({"given": 1}, "toy.given=1: there is no key given."),
    ],
)
def test_each_fault_names_key_value_and_what_is_allowed(values: dict[str, Any], fault: str) -> None:
    (said,) = faults(**values)
    assert said.startswith(fault)


def test_all_faults_of_a_node_are_told_at_once() -> None:
    said = faults(sise=1, size=99, kind="x", lens={"focus": -1}, first=3)
    assert [line.partition("=")[0] for line in said] == [
        "toy.sise",
        "toy.lens.focus",
        "toy.first",
        "toy.size",
        "toy.kind",
    ]


def test_values_in_the_forms_yaml_has() -> None:
    values = toy(rate=0, widths=[4], pair=[1, 2.5], bits=32, **{"lambda": 2}).values
    assert (values["rate"], values["widths"], values["pair"], values["bits"]) == (0.0, (4,), [1.0, 2.5], 32)
    assert isinstance(values["widths"], tuple)
    assert values["lambda_"] == 2


def test_nested_objects_are_built_when_the_outer_one_is() -> None:
    description = describe_call(Toy, {"lens": {"focus": 4}}, key="toy", allow=(__name__,))
    one, other = description(1), description(1)
    assert one.values["lens"].focus == 4
    assert one.values["lens"] is not other.values["lens"]
    assert toy(lens=None).values["lens"] is None


def test_a_nested_target_must_be_a_kind_of_what_is_wanted() -> None:
    zoom = {"_target_": f"{__name__}.Zoom", "steps": 2}
    assert isinstance(toy(lens=zoom).values["lens"], Zoom)
    (said,) = faults(lens={"_target_": f"{__name__}.Toy"})
    assert "a kind of Lens is needed" in said
    (said,) = faults(lens={"_target_": f"{__name__}.Zoom"})
    assert said == "toy.lens.steps: a value is missing; allowed: an integer from 1"


def test_plain_is_what_describe_reads_with_every_default_written_out() -> None:
    description = describe({"_target_": RESNET, "blocks": 5}, key="model", room=MODELS)
    plain = description.plain()
    assert plain["_target_"] == RESNET
    assert (plain["blocks"], plain["kernel_size"]) == (5, 3)
    assert describe(plain, key="model", room=MODELS).plain() == plain


def test_scalars_are_flat_and_lists_are_one_string() -> None:
    description = describe_call(Toy, {"lens": {"focus": 4}, "widths": [3, 4]}, key="toy", allow=(__name__,))
    scalars = dict(description.scalars())
    assert scalars["lens.focus"] == 4
    assert scalars["widths"] == "3+4"
    assert scalars["lambda"] == 0.1


def test_a_description_builds_the_net() -> None:
    net = describe({"_target_": RESNET, "blocks": 1, "width": 4}, key="model", room=MODELS)(10)
    assert isinstance(net, ResidualCNN)
    assert net(torch.zeros(2, 3, 8, 8)).shape == (2, 10)


@pytest.mark.parametrize(
    "path",
    [
        "os.system",
        "builtins.exec",
        "cifarlab.data.module.ImageData",  # another room's
        "cifarlab.modelsandmore.Net",
        "cifarlab.models.residual.nn",  # what a module imports is not its own
        "cifarlab.models.residual.Literal",
        "cifarlab.models.residual._hidden",
        "cifarlab.models.residual.HALVINGS",
        "cifarlab.models.residual.ResidualCNN.forward",
        "cifarlab.models.nowhere.Net",
        "ResidualCNN",
        "",
    ],
)
def test_only_the_rooms_own_classes_can_be_named(path: str) -> None:
    assert refusal({"_target_": path}).startswith(f"model._target_={path}: ")


@pytest.mark.parametrize(
    "path", ["cifarlab.job.configure.json", "cifarlab.job.configure.importlib", "cifarlab.result.os"]
)
def test_what_a_module_imports_is_not_its_own(path: str) -> None:
    assert "only classes of cifarlab can be named" in refusal({"_target_": path}, room="cifarlab")


def test_functions_of_other_libraries_are_refused_through_ours() -> None:
    said = refusal({"_target_": "cifarlab.job.configure.get_type_hints"}, room="cifarlab")
    assert "only classes of cifarlab can be named" in said


def test_a_refused_target_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "trap_module.py").write_text("from pathlib import Path\nPath('sprung').touch()\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    refusal({"_target_": "trap_module.Net"})
    assert not (tmp_path / "sprung").exists()


def test_the_users_own_classes_come_in_by_allow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_nets.py").write_text(
        "class Net:\n    def __init__(self, classes, *, depth: int = 2):\n        self.depth = depth\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    node = {"_target_": "my_nets.Net", "depth": 3}
    assert "below an import path given by allow=" in refusal(node)
    assert "below an import path given by allow=" in refusal(node, allow=("my_net",))
    assert describe(node, key="model", room=MODELS, allow=("my_nets",))(10).depth == 3
    said = refusal({"_target_": "my_nets.Net", "dept": 3}, allow=("my_nets",))
    assert "Did you mean model.depth?" in said


@pytest.mark.parametrize("node", [None, 3, "resnet", [1]])
def test_a_node_must_be_a_mapping(node: Any) -> None:
    assert refusal(node).startswith(f"model={node}: a mapping with _target_ is needed")


def test_a_node_without_a_target_says_so() -> None:
    assert refusal({"blocks": 3}) == "model: _target_ is missing; it names a class in cifarlab.models"


def test_an_abstract_class_is_refused() -> None:
    said = refusal({"_target_": "cifarlab.data.sources.Source"}, room="cifarlab.data")
    assert said.startswith("model._target_=cifarlab.data.sources.Source: ")


def test_a_class_that_no_config_can_describe_is_refused() -> None:
    said = refusal({"_target_": "cifarlab.data.batches.Batches"}, room="cifarlab.data")
    assert said.startswith("model._target_=cifarlab.data.batches.Batches: a config cannot give its arguments")


def test_keys_that_are_no_text_are_refused_like_others() -> None:
    assert refusal({"_target_": RESNET, 1: 2}).startswith("model.1=2: there is no key 1.")


def test_every_operation_of_augment_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"augment\.crop\.paddin=3.*Did you mean augment\.crop\.padding\?"):
        describe_call(Augment, {"crop": {"paddin": 3}}, key="augment")


def test_allowed_in_words() -> None:
    parameters = config_parameters(Toy)
    said = {name: allowed(parameter.annotation) for name, parameter in parameters.items()}
    assert said["size"] == "an integer from 1 to 9"
    assert said["rate"] == "a number from 0 below 1"
    assert said["kind"] == "one of relu, gelu"
    assert said["widths"] == "a list, each an integer"
    assert said["pair"] == "a list, each a number or null"
    assert said["flag"] == "true or false"
    assert allowed(tuple[dict[str, object], ...]) == "a list, each a mapping"
    assert allowed(tuple[int, int]) == "a list of 2, each an integer"
    assert allowed(Finetune | None) == "a mapping of head_epochs, lr, keep_statistics or null"
    assert allowed(Source) == "a mapping"  # of which keys, its _target_ says
