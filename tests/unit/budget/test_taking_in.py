"""An owner takes in what others wrote, all of it or nothing."""

from services.budget.domain.config import TreeConfig
from services.budget.domain.recovery import take_in
from services.budget.domain.tree import Tree
from tests.property.budget.simulator import ORGANISATION, Prices


def test_what_left_before_it_was_read_makes_the_tree_be_read_again() -> None:
    tree = Tree(TreeConfig(ORGANISATION, 0, Prices(), {}, {}), sequence=3)
    limit, rerate, checkpoint = (
        f'{{"n":{n},"k":{k},"cp":[5,1,1]}}'.encode() for n, k in ((4, 7), (5, 8), (6, 10))
    )
    assert not take_in(tree, [checkpoint], 6)
    assert not take_in(tree, [rerate, checkpoint], 6)
    assert not take_in(tree, [limit, rerate], 6)
    assert take_in(tree, [limit, rerate, checkpoint], 6)
