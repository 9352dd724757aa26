//! No text makes the mathematics verifier panic or work without bound, whatever it holds.

use lsn_labels::verifiable::math::{self, Answer, Choices, Mode, Options};
use proptest::prelude::*;

/// Fragments that together reach every rule of the readers.
fn fragment() -> impl Strategy<Value = String> {
    prop_oneof![
        "[0-9]{1,4}",
        "[a-zA-Z]",
        prop::sample::select(vec![
            "$",
            "$$",
            "\\(",
            "\\)",
            "\\[",
            "\\]",
            "\\boxed{",
            "\\frac",
            "\\sqrt",
            "\\sqrt[3]",
            "{",
            "}",
            "(",
            ")",
            "[",
            "]",
            "|",
            "\\{",
            "\\}",
            "^",
            "_",
            "+",
            "-",
            "*",
            "/",
            "=",
            "<",
            "\\le",
            "\\in",
            "\\cup",
            "\\setminus",
            ",",
            ";",
            "\\pm",
            "!",
            "%",
            "\\%",
            "\\text{",
            "\\pi",
            "\\infty",
            "\\sin",
            "\\log",
            "\\sum_{k=1}^",
            "\\int",
            "dx",
            "e",
            "E",
            "i",
            "\\begin{pmatrix}",
            "\\end{pmatrix}",
            "&",
            "\\\\",
            " and ",
            " or ",
            ".",
            "answer: ",
            "final answer is ",
            "I hope",
            "\\binom",
            "\\gcd",
            "f(",
            "^\\circ",
            "é",
            "∪",
            "\u{1c}",
            "\n",
            " ",
            "\\mathbb{R}",
        ])
        .prop_map(str::to_owned),
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::collection::vec(fragment(), 0..40).prop_map(|parts| parts.concat()),
        prop::collection::vec(fragment(), 0..30).prop_map(|parts| format!("${}$", parts.concat())),
        ".{0,60}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn nothing_panics(gold in text(), prediction in text()) {
        for mode in [Mode::Compat, Mode::Strict] {
            let _ = math::verify(&gold, &prediction, &Options { mode, ..Options::default() });
        }
        let _ = math::minerva::verify(&prediction, &gold);
        let _ = math::hendrycks::is_equivalent(&gold, &prediction);
        if let Ok(letters) = Choices::letters() {
            let _ = math::verify_choice(&gold, &prediction, &letters);
        }
    }

    #[test]
    fn an_answer_equals_itself(text in text()) {
        let answer = Answer::read(&text);
        if answer.text().is_some_and(|text| !text.trim().is_empty()) {
            prop_assert!(answer.verify(&answer, Mode::Compat).equal);
        }
    }

    #[test]
    fn numbers_compare_both_ways_alike(a in -400_i64..400, b in 1_i64..40, c in -400_i64..400, d in 1_i64..40) {
        let (x, y) = (format!("$\\frac{{{a}}}{{{b}}}$"), format!("{c}/{d}"));
        let verdict = |gold: &str, prediction: &str| math::verify(gold, prediction, &Options::default()).equal;
        prop_assert_eq!(verdict(&x, &y), a * d == c * b);
        prop_assert_eq!(verdict(&y, &x), a * d == c * b);
    }

    #[test]
    fn polynomials_compare_both_ways_alike(a in -9_i64..9, b in -9_i64..9, c in -9_i64..9) {
        let factored = format!("$(x-({a}))(x-({b}))$");
        let expanded = format!("$x^2-({})x+({c})$", a + b);
        let verdict = |gold: &str, prediction: &str| math::verify(gold, prediction, &Options::default()).equal;
        prop_assert_eq!(verdict(&factored, &expanded), a * b == c);
        prop_assert_eq!(verdict(&expanded, &factored), a * b == c);
    }
}

/// Texts made to blow up: none may hang, and all end without an answer that is equal to one.
#[test]
fn hostile_texts_are_refused() {
    let deep = |open: &str, close: &str| format!("${}1{}$", open.repeat(3_000), close.repeat(3_000));
    let hostile = [
        "$9^{9^{9^{9}}}$".to_owned(),
        "9**9**9**9".to_owned(),
        "$1E999999999$".to_owned(),
        "$1000000000!$".to_owned(),
        "$((((1000!)!)!)!)$".to_owned(),
        "$\\binom{1000000000000}{500000000000}$".to_owned(),
        "$\\sum_{k=1}^{10^{18}} k$".to_owned(),
        "$(x+y+z+w+1)^{1000000}$".to_owned(),
        "$\\sum_{a=1}^{999}\\sum_{b=1}^{999}\\sum_{c=1}^{999} abc$".to_owned(),
        deep("(", ")"),
        deep("\\frac{1}{", "}"),
        deep("\\sqrt{", "}"),
        deep("{", "}"),
        format!("${}$", "x^".repeat(5_000)),
        format!("${}$", "5!".repeat(5_000)),
        format!("${}1$", "-".repeat(5_000)),
        format!("${}$", "|x".repeat(2_000)),
        format!("${}$", "f(x".repeat(400)),
        format!("${}$", "1,".repeat(4_000)),
        format!("${}$", "\\sin ".repeat(500)),
        "answer ".repeat(20_000),
        "final answer ".repeat(20_000),
        "\\[".repeat(50_000),
        "$$".repeat(50_000),
        "\\boxed{".repeat(20_000),
        "1 ".repeat(100_000),
        "1+".repeat(100_000),
        "9".repeat(200_000),
        format!("${}$", "9".repeat(200_000)),
    ];
    let gold = Answer::read("$1$");
    for text in &hostile {
        let start: String = text.chars().take(40).collect();
        let (answer, other) = (Answer::read(text), Answer::read(&text.replace('9', "8")));
        // What is refused as LaTeX or for its length may still be read as the number that it begins with.
        let begins_with_one = text.trim_start_matches('$').starts_with('1');
        for mode in [Mode::Compat, Mode::Strict] {
            assert!(!gold.verify(&answer, mode).equal || begins_with_one, "{start}");
            let _ = answer.verify(&gold, mode);
        }
        let _ = answer.verify(&other, Mode::Compat);
        let _ = math::minerva::verify(&format!("Final Answer: The final answer is {text}. I hope it is correct."), "1");
        let _ = math::hendrycks::is_equivalent(text, "1");
    }
}

#[test]
fn thinking_and_answer_elements_are_peeled_off() {
    let reply = "<think>It may be $3$.</think> I say <answer>$\\frac{8}{2}$</answer> or $7$.";
    let peeled = Options { final_answer_only: true, ..Options::default() };
    assert!(math::verify("$4$", reply, &peeled).equal);
    assert!(!math::verify("$4$", reply, &Options::default()).equal);
    assert!(math::verify("$7$", reply, &Options::default()).equal);
}

/// Where the reference's verdict is a quirk, the strict mode says what the answers mean.
#[test]
fn strict_verdicts_differ_where_they_should() {
    for (gold, prediction, compat, strict) in [
        ("$25\\%$", "25", true, false),
        ("$25\\%$", "$\\frac14$", true, true),
        ("$\\{1,2\\}$", "$(1,2,2)$", false, false),
        ("$\\{1,2,3\\}$", "$(1,2,3)$", true, false),
        ("$-2x>-18$", "$x<9$", false, true),
        ("$(9,14)$", "$9<x<14$", false, true),
        ("$2x=4$", "$x=2$", false, true),
        ("$x^2=-1$", "$x^2=-4$", true, false),
    ] {
        let verdict = |mode| math::verify(gold, prediction, &Options { mode, ..Options::default() });
        assert_eq!(verdict(Mode::Compat).equal, compat, "{gold} {prediction} {:?}", verdict(Mode::Compat));
        assert_eq!(verdict(Mode::Strict).equal, strict, "{gold} {prediction} {:?}", verdict(Mode::Strict));
    }
}
