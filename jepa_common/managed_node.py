"""Base of the lifecycle nodes: parameters, configure and activate, diagnostics, and undoing all of it."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Generic, TypeVar

from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import FloatingPointRange, ParameterDescriptor, SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecyclePublisher, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile

from jepa_common.diagnostics import DiagnosticsPublisher
from jepa_common.health import HealthMonitor, Level, Report
from jepa_common.heartbeat import Heartbeat, PeerWatch
from jepa_common.parameters import declare_parameters, declared_parameters, read_parameters
from jepa_common.qos_profiles import OVERRIDABLE

Parameters = TypeVar("Parameters")

# What a missing file, a wrong parameter or an unusable checkpoint raises. Anything else is a programming
# error: it is logged with its traceback, and the lifecycle's own error processing follows.
EXPECTED_FAILURES = (OSError, ValueError, RuntimeError, LookupError, ImportError)

_PEERS_SECONDS = 0.1  # between two looks at who has fallen silent
_MAX_SILENCE = ParameterDescriptor(
    description="Time without a sign of life after which another node is taken for hung, s; 0: never",
    floating_point_range=[FloatingPointRange(from_value=0.0, to_value=60.0)],
)


class NodeStartError(RuntimeError):
    """The node could not be configured or activated; the message says why."""


class ManagedNode(LifecycleNode, Generic[Parameters]):
    """A lifecycle node that a subclass completes with `configure` and `activate`.

    `configure(parameters)` loads what is slow and may fail; `activate()` opens what makes the node act. Each
    registers how it is undone in `self.configured` or `self.activated`, and the base class undoes it in
    reverse order: on deactivate, cleanup, shutdown, destruction, and after a failure half-way. When they
    cannot succeed, both raise one of `EXPECTED_FAILURES` with a message for people; the transition then
    fails and the node stays alive.

    What a subclass makes in `__init__` and does not end with the node is registered in `self.created`.

    `silent_peers` says why other nodes are taken for hung, by their names without the namespace.

    Threads: everything here runs on the executor's thread. `health` may be used from any thread.
    """

    def __init__(self, name: str, parameters_type: type[Parameters], **options: Any) -> None:
        """Declares the parameters of the dataclass `parameters_type`; `options` go to `rclpy.node.Node`."""
        super().__init__(name, **options)
        self.health = HealthMonitor()
        # On Kilted, rclpy also destroys a node whose `__init__` did not come to its end: so all that this ends is here.
        self.created = ExitStack()
        self.configured = ExitStack()
        self.activated = ExitStack()
        self._parameters_type = parameters_type
        self._last_failure = ""
        self.silent_peers: dict[str, str] = {}
        self._heartbeat = Heartbeat(self)
        self.declare_parameter("autostart", False)
        silence = float(self.declare_parameter("max_silence", 0.7, _MAX_SILENCE).value)
        declare_parameters(self, parameters_type)
        self.add_on_set_parameters_callback(self._refuse_late_changes)
        self._guard_change_state()
        self._diagnostics = DiagnosticsPublisher(self, self._report, self._report_peers)
        if silence > 0.0:
            self._peers = PeerWatch(self, silence)
            self.create_timer(_PEERS_SECONDS, self._watch_peers, clock=Clock(clock_type=ClockType.STEADY_TIME))

    # --- for subclasses -------------------------------------------------------------------------------------

    def configure(self, parameters: Parameters) -> None:
        """Loads what the node needs."""

    def activate(self) -> None:
        """Opens what makes the node act."""

    def diagnose(self) -> Report:
        """What `/diagnostics` says while the node is active."""
        return self.health.report()

    def subscribe_while_active(
        self, message_type: type, topic: str, callback: Callable[[Any], None], qos: QoSProfile
    ) -> None:
        """Subscribes until the node is deactivated; to be called from `activate`."""
        subscription = self.create_subscription(message_type, topic, callback, qos, qos_overriding_options=OVERRIDABLE)
        self.activated.callback(self.destroy_subscription, subscription)

    def publisher_while_configured(self, message_type: type, topic: str, qos: QoSProfile) -> LifecyclePublisher:
        """A publisher that is silent unless the node is active; to be called from `configure`."""
        publisher = self.create_lifecycle_publisher(message_type, topic, qos, qos_overriding_options=OVERRIDABLE)
        self.configured.callback(self.destroy_lifecycle_publisher, publisher)
        return publisher

    # --- for those who use the node -------------------------------------------------------------------------

    @property
    def state_name(self) -> str:
        """Label of the lifecycle state: unconfigured, inactive, active, finalized, or a transition's."""
        return str(self._state_machine.current_state[1])

    @property
    def is_active(self) -> bool:
        """Whether the node may act."""
        return self.state_name == "active"

    @property
    def last_failure(self) -> str:
        """Why the last transition failed; empty when none has."""
        return self._last_failure

    def parameters(self) -> Parameters:
        """The parameters' values now."""
        return read_parameters(self, self._parameters_type)

    def unknown_overrides(self) -> list[str]:
        """Parameters that a file or a command line sets and that this node does not have."""
        return sorted(
            name
            for name in self._parameter_overrides
            if not self.has_parameter(name) and not name.startswith("qos_overrides.")
        )

    def start(self) -> None:
        """Configures and activates.

        Raises:
            NodeStartError: with the message of the step that failed.
        """
        for step in (self.trigger_configure, self.trigger_activate):
            if step() != TransitionCallbackReturn.SUCCESS:
                raise NodeStartError(self._last_failure)

    def destroy_node(self) -> None:
        """Ends what was created, undoes activate and configure, then destroys the node."""
        self.created.close()
        self.activated.close()
        self.configured.close()
        self._heartbeat.end()
        super().destroy_node()
        # rclpy leaves this to the garbage collector. Until then it keeps the participant, whose endpoints others see.
        self._state_machine.destroy_when_not_in_use()

    # --- lifecycle ------------------------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Reads the parameters and calls `configure`."""
        if unknown := self.unknown_overrides():
            self.get_logger().warning(f"parameters that this node does not have change nothing: {', '.join(unknown)}")
        result = self._attempt("configure", lambda: self.configure(self.parameters()), self.configured)
        return super().on_configure(state) if result == TransitionCallbackReturn.SUCCESS else result

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Enables the publishers, then calls `activate`."""
        super().on_activate(state)
        result = self._attempt("activate", self.activate, self.activated)
        if result != TransitionCallbackReturn.SUCCESS:
            super().on_deactivate(state)
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Undoes `activate`, then silences the publishers."""
        self.activated.close()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Undoes `configure`."""
        self.configured.close()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Undoes everything."""
        self.activated.close()
        self.configured.close()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Undoes everything; the node is unconfigured again and can be given another try."""
        self.activated.close()
        self.configured.close()
        return super().on_error(state)

    def _attempt(self, step: str, action: Callable[[], None], undo: ExitStack) -> TransitionCallbackReturn:
        """Runs one step; logs why it failed and undoes what it had done."""
        try:
            with self._heartbeat.busy():
                action()
        except EXPECTED_FAILURES as error:
            self._last_failure = f"cannot {step}: {error}"
            self.get_logger().error(self._last_failure)
            self.health.failed(self._last_failure)
            undo.close()
            return TransitionCallbackReturn.FAILURE
        except Exception:
            self._last_failure = f"cannot {step}: {traceback.format_exc()}"
            self.get_logger().error(self._last_failure)
            raise
        self.get_logger().info(f"{step}: done")
        return TransitionCallbackReturn.SUCCESS

    def _guard_change_state(self) -> None:
        """Answers a transition that the state does not have with `success: false`.

        rclpy lets the state machine's exception pass through the executor, which would end the process.
        """
        service = self._service_change_state
        change_state = service.callback

        def guarded(request: ChangeState.Request, response: ChangeState.Response) -> ChangeState.Response:
            if self._has_transition(request):
                return change_state(request, response)
            self.get_logger().error(
                f"there is no transition {request.transition.label or request.transition.id} from the state "
                f"{self.state_name}: see `ros2 lifecycle list`"
            )
            response.success = False
            return response

        service.callback = guarded

    def _has_transition(self, request: ChangeState.Request) -> bool:
        """Whether the requested transition, by label or else by number, leaves the present state."""
        available = self._state_machine.available_transitions
        if request.transition.label:
            return any(label == request.transition.label for _, label, *_ in available)
        return any(number == request.transition.id for number, *_ in available)

    # --- parameters and diagnostics -------------------------------------------------------------------------

    def _refuse_late_changes(self, changed: list[Parameter]) -> SetParametersResult:
        """Refuses values that would have no effect because `configure` has already read the parameters."""
        if self.state_name in ("unconfigured", "configuring"):
            return SetParametersResult(successful=True)
        live = {item.name: item.info.live for item in declared_parameters(self._parameters_type)}
        late = [item.name for item in changed if not live.get(item.name, True)]
        reason = f"{', '.join(late)}: read in configure only; clean the node up, set it, and configure again"
        return SetParametersResult(successful=not late, reason=reason if late else "")

    def _watch_peers(self) -> None:
        before, self.silent_peers = self.silent_peers, self._peers.silent()
        for reason in (self.silent_peers[name] for name in self.silent_peers.keys() - before.keys()):
            self.get_logger().error(reason)
        if self.silent_peers.keys() != before.keys():
            self._diagnostics.publish()

    def _report_peers(self) -> dict[str, Report]:
        """What hung nodes cannot say themselves."""
        return {reason.partition(":")[0]: Report(Level.STALE, reason) for reason in self.silent_peers.values()}

    def _report(self) -> Report:
        state = self.state_name
        if state == "active":
            report = self.diagnose()
            return Report(report.level, report.message, {"lifecycle": state, **report.values})
        level = Level.WARN if self._last_failure else Level.OK
        return Report(level, self._last_failure or state, {"lifecycle": state})
