"""The access of a deployment's nodes as a policy of SROS2, which `ros2 security generate_artifacts` signs."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

from jepa_tools.bring_up.deployments import Deployment, enclave_path
from jepa_tools.bring_up.options import BringUp
from jepa_tools.security.access import CAMERA, NODES, OPERATOR, OTHERS, RECORDER, ROBOT, Access

POLICY_VERSION = "0.2.0"
_ATTRIBUTES = {
    "publish": ("topics", "topic"),
    "subscribe": ("topics", "topic"),
    "reply": ("services", "service"),
    "request": ("services", "service"),
    "execute": ("actions", "action"),
    "call": ("actions", "action"),
}


def deployment_access(deployment: Deployment, bring_up: BringUp) -> dict[str, Access]:
    """Who may do what, with full names, by the name of the node."""
    remappings = {name: target for node in deployment.nodes for name, target in node.remappings(bring_up)}
    own = {node.name: NODES[node.name] for node in deployment.nodes}
    around = (OPERATOR, RECORDER) if "sim" in own else (ROBOT, CAMERA, OPERATOR, RECORDER)
    access = own | {name: OTHERS[name] for name in around}
    return {name: item.named(name, bring_up.namespace, remappings) for name, item in access.items()}


def policy_xml(deployment: Deployment, bring_up: BringUp) -> str:
    """The policy's text: one enclave for each node, so that none can do what another may."""
    root = ElementTree.Element("policy", version=POLICY_VERSION)
    enclaves = ElementTree.SubElement(root, "enclaves")
    namespace = "/" + bring_up.namespace.strip("/")
    for name, access in deployment_access(deployment, bring_up).items():
        enclave = ElementTree.SubElement(enclaves, "enclave", path=enclave_path(name, namespace))
        profiles = ElementTree.SubElement(enclave, "profiles")
        _add_access(ElementTree.SubElement(profiles, "profile", ns=namespace, node=name), access)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _add_access(profile: ElementTree.Element, access: Access) -> None:
    for verb, (group, kind) in _ATTRIBUTES.items():
        names = getattr(access, verb)
        if names:
            element = ElementTree.SubElement(profile, group, {verb: "ALLOW"})
            for name in names:
                ElementTree.SubElement(element, kind).text = name
