"""Types as a caller thinks of them: `Annotated[float, Field(gt=0)]` is a float."""

from __future__ import annotations

from typing import Any

from griffe import ExprBinOp, ExprSubscript, ExprTuple, Extension


class PlainAnnotations(Extension):
    """Leaves out of each attribute's type what is said to a library and not to a reader."""

    def on_attribute_instance(self, *, attr: Any, **_: Any) -> None:
        """Look at one attribute."""
        attr.annotation = plain(attr.annotation)


def plain(annotation: Any) -> Any:
    """Return a type without what `Annotated` adds, also on either side of a union."""
    if isinstance(annotation, ExprSubscript) and str(annotation.left) == "Annotated":
        inside = annotation.slice
        return inside.elements[0] if isinstance(inside, ExprTuple) else inside
    if isinstance(annotation, ExprBinOp):
        annotation.left, annotation.right = plain(annotation.left), plain(annotation.right)
    return annotation
