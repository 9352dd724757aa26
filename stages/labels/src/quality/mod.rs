//! Quality by comparison: Swiss tournaments under a pairwise judge, rated by a Bradley–Terry fit.

mod bradley_terry;
mod davidson;
mod graph;
mod judge;
mod likelihood;
mod matching;
mod question;
mod swiss;
mod tournament;

pub use bradley_terry::{BradleyTerry, FitError, FitOptions, Outcome, Prior, Ratings};
pub use davidson::{Davidson, DavidsonRatings, Decision};
pub use judge::{Comparison, PairJudge, ScoreJudge, preference, sigmoid};
pub use matching::{MatchingError, min_weight_perfect_matching};
pub use question::{MissingPlaceholder, QuestionTemplate};
pub use swiss::{Pairing, Swiss, SwissError, swiss_rounds};
pub use tournament::{Game, TournamentError, TournamentOptions, TournamentResult, rate, run_tournaments};
