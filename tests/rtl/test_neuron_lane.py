"""The identity of `NeuronLane`, proved by Yosys for all values: a step of it is a step of `golden.neurons.lif`."""

from pathlib import Path

import pytest
from amaranth.back import verilog

from spikeloom.gen.toolchain.environment import YOSYS, run_tools
from spikeloom.rtl.core import neuron_lane
from spikeloom.rtl.core.neuron_lane import NeuronLane
from spikeloom.rtl.primitives.family import ECP5

SUM_WIDTH, WIDTH = 5, 6

# golden's formula in numbers wide enough for all, three cycles before it is compared
GOLDEN = f"""
module harness(input clk, first, fires, input signed [{WIDTH - 1}:0] kept, bias, threshold,
               input signed [{SUM_WIDTH - 1}:0] acc, input place, output equal, output never);
  reg hard, strict, leak;  // of the layer: constant, and any
  always @(posedge clk) begin hard <= hard; strict <= strict; leak <= leak; end
  localparam signed [9:0] most = 1 << {WIDTH - 1};
  wire signed [9:0] lower = strict, before = kept + lower;
  wire signed [9:0] u = first ? 10'sd0 : leak ? (strict ? (before + 10'sd1) >>> 1 : before >>> 1) : before;
  wire signed [9:0] h = u + acc + bias;
  wire s = fires & (strict ? h > threshold : h >= threshold);
  wire signed [9:0] r = s ? (hard ? 10'sd0 : h - threshold) : h;
  wire fits = h - lower >= -most & h < most & r - lower >= -most & r < most & bias - lower >= -most & threshold > -most;
  wire signed [9:0] kept_bias = bias - lower, negated = -threshold, left_wanted = r - lower;

  wire spike;
  wire signed [{WIDTH - 1}:0] left;
  lane lane(.clk(clk), .rst(1'b0), .neuron({{leak, strict, hard}}), .first(first), .fires(fires), .biased(1'b1),
            .kept(kept), .bias(kept_bias[{WIDTH - 1}:0]), .negated_threshold(negated[{WIDTH - 1}:0]),
            .sum(place ? acc << {SUM_WIDTH} : {{ {SUM_WIDTH}'b0, acc }}), .spike(spike), .left(left));

  reg [2:0] checked, spikes, highest;
  reg signed [9:0] wanted [0:2];
  always @(posedge clk) begin
    checked <= {{checked, fits}};
    spikes <= {{spikes, s}};
    highest <= {{highest, threshold == -most}};
    wanted[0] <= left_wanted; wanted[1] <= wanted[0]; wanted[2] <= wanted[1];
  end
  assign equal = ~checked[2] | (spike == spikes[2] & left == wanted[2]);
  assign never = ~highest[2] | ~spike;
endmodule
"""


def proof(folder, lane, *claims):
    """What Yosys says of the claims, options of `sat` each, where all stages are known; for all values."""
    (folder / "lane.v").write_text(lane)
    (folder / "golden.v").write_text(GOLDEN)
    script = [
        "read_verilog lane.v golden.v +/lattice/common_sim.vh +/lattice/ccu2c_sim.vh",
        "hierarchy -check -top harness",
        "proc; memory; flatten; opt_clean",
        *(f"sat -seq 4 -prove-skip 3 {claim}" for claim in claims),
    ]
    (folder / "proof.ys").write_text("\n".join(script) + "\n")
    run_tools([YOSYS.path(), "-q", "-l", "log", "proof.ys"], folder, tools=[YOSYS])
    return (folder / "log").read_text()


def lane_verilog(platform, **sizes):
    return verilog.convert(NeuronLane(**sizes), name="lane", platform=platform, emit_src=False)


@pytest.mark.parametrize("platform", [None, ECP5], ids=["portable", "ecp5"])
def test_a_step_is_goldens(tmp_path, platform):
    """For every neuron, potential, bias, threshold and sum of which nothing overflows; a channel that must never fire
    has the least number for a threshold."""
    log = proof(
        tmp_path,
        lane_verilog(platform, sum_width=SUM_WIDTH, width=WIDTH),
        "-verify -prove equal 1",
        "-verify -prove never 1",
    )
    assert log.count("SAT proof finished - no model found: SUCCESS!") == 2


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("neuron.strict & ~self.first", "neuron.strict"),
        ("(~neuron.hard | neuron.strict)", "~neuron.hard"),
        ("kept >> 1", "(kept + neuron.strict) >> 1"),
        ("~excess.total[-1]", "~excess.total[-2]"),
    ],
)
def test_another_lane_is_seen(tmp_path, old, new):
    """The proof fails for a lane with one line changed."""
    source = Path(neuron_lane.__file__).read_text()
    assert source.count(old) == 1
    names = {"__name__": neuron_lane.__name__, "__package__": neuron_lane.__package__}
    exec(compile(source.replace(old, new), "a changed lane", "exec"), names)
    changed = names["NeuronLane"](sum_width=SUM_WIDTH, width=WIDTH)
    text = verilog.convert(changed, name="lane", emit_src=False)
    assert "model found: FAIL!" in proof(tmp_path, text, "-falsify -prove equal 1")
