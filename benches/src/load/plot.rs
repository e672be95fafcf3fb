//! A plot of a sweep: throughput and latencies over the load.

use std::fmt::Write as _;

use crate::report::Report;

/// The size of a panel, and the room for its axes.
const WIDTH: f64 = 400.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 60.0;
const PANEL: f64 = WIDTH + 100.0;
/// The least number of lines of an axis.
const TICKS: f64 = 4.0;

/// Colours that can be distinguished on white and on black, with colour blindness as well.
const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#24292f}.grid{stroke:#8886;stroke-width:1}\
    .a{stroke:#0072b2;fill:#0072b2}.b{stroke:#d55e00;fill:#d55e00}.c{stroke:#999;fill:#999}\
    polyline{fill:none!important;stroke-width:2}.c{stroke-dasharray:4}.name{stroke:none!important}\
    @media(prefers-color-scheme:dark){text{fill:#e6edf3}.a{stroke:#56b4e9;fill:#56b4e9}\
    .b{stroke:#e69f00;fill:#e69f00}}";

/// The class, the name and the points of a line.
type Line = (&'static str, &'static str, Vec<(f64, f64)>);

/// Draws the steps of a sweep.
pub(crate) fn svg(report: &Report) -> String {
    let line = |class, name, figure: &str| -> Line {
        let points =
            report.steps.iter().filter_map(|step| Some((step.offered_per_second?, step.median(figure)?)));
        (class, name, points.collect())
    };
    let offered = report.steps.iter().filter_map(|step| step.offered_per_second);
    let offered: Line = ("c", "offered", offered.map(|rate| (rate, rate)).collect());
    let throughput = [offered, line("a", "completed", "completed a second")];
    let latencies = [line("a", "p50", "to the end p50 ms"), line("b", "p99", "to the end p99 ms")];
    let setting = &report.setting;
    let title = format!(
        "{} over {}, watched by {}, {} slots, {} cores",
        setting.store, setting.over, setting.watch, setting.slots, setting.cores
    );
    let (width, height) = (2.0 * PANEL, TOP + HEIGHT + 60.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\">\
         <title>{title}</title><style>{STYLE}</style><text x=\"{LEFT}\" y=\"22\">{title}</text>"
    );
    panel(&mut svg, 0.0, "orders completed a second", &throughput);
    panel(&mut svg, PANEL, "from the order to its end, ms", &latencies);
    svg.push_str("</svg>\n");
    svg
}

/// Draws lines over the offered rate.
fn panel(svg: &mut String, shift: f64, title: &str, lines: &[Line]) {
    let most = |axis: fn(&(f64, f64)) -> f64| {
        let values = lines.iter().flat_map(|(_, _, points)| points).map(axis);
        step_up(values.fold(f64::MIN_POSITIVE, f64::max))
    };
    let ((x_step, x_max), (y_step, y_max)) = (most(|point| point.0), most(|point| point.1));
    let x = |value: f64| shift + LEFT + value / x_max * WIDTH;
    let y = |value: f64| TOP + HEIGHT - value / y_max * HEIGHT;
    // Writing into a string cannot fail.
    let _ = write!(svg, "<text x=\"{}\" y=\"{}\">{title}</text>", x(0.0), TOP - 14.0);
    for value in ticks(y_step, y_max) {
        let (from, to, at) = (x(0.0), x(x_max), y(value));
        let _ = write!(svg, "<path class=\"grid\" d=\"M{from:.1} {at:.1}H{to:.1}\"/>");
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>",
            from - 8.0,
            at + 4.0
        );
    }
    for value in ticks(x_step, x_max) {
        let (at, below) = (x(value), TOP + HEIGHT + 20.0);
        let _ = write!(svg, "<text x=\"{at:.1}\" y=\"{below}\" text-anchor=\"middle\">{value}</text>");
    }
    let _ = write!(
        svg,
        "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">orders offered a second</text>",
        x(x_max / 2.0),
        TOP + HEIGHT + 42.0
    );
    for ((class, name, points), row) in lines.iter().zip(0_u32..) {
        let path: Vec<String> = points.iter().map(|(a, b)| format!("{:.1},{:.1}", x(*a), y(*b))).collect();
        let _ = write!(svg, "<polyline class=\"{class}\" points=\"{}\"/>", path.join(" "));
        let (at, below) = (x(0.0) + 10.0, TOP + 16.0 * f64::from(row) + 14.0);
        let _ = write!(svg, "<text class=\"name {class}\" x=\"{at:.1}\" y=\"{below:.1}\">{name}</text>");
    }
}

/// Returns the distance of an axis' lines, a round number, and the first line that is not below a value.
fn step_up(value: f64) -> (f64, f64) {
    let power = 10_f64.powf((value / TICKS).log10().floor());
    let step = [1.0, 2.0, 5.0].map(|digit| digit * power).into_iter().rfind(|step| step * TICKS <= value);
    let step = step.unwrap_or(power);
    (step, (value / step).ceil() * step)
}

fn ticks(step: f64, max: f64) -> impl Iterator<Item = f64> {
    // Rounding removes the error of adding up decimals.
    (0_u32..)
        .map(move |n| (f64::from(n) * step * 1e6).round() / 1e6)
        .take_while(move |value| *value <= max + step / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers() {
        for (value, axis) in
            [(4_100.0, (1_000.0, 5_000.0)), (100.0, (20.0, 100.0)), (0.9, (0.2, 1.0)), (7.0, (1.0, 7.0))]
        {
            let (step, max) = step_up(value);
            assert!((step - axis.0).abs() < 1e-9 && (max - axis.1).abs() < 1e-9, "{value}: {step}, {max}");
        }
        assert_eq!(ticks(0.2, 0.6).collect::<Vec<_>>(), [0.0, 0.2, 0.4, 0.6]);
    }
}
