/** Questions to a monitor that may be away for a while, because an upgrade replaces it or it is restarted. */
import { EXIT, Failed } from './exit';

/** The monitor may be away for this long, ms. */
const AWAY_MS = 60_000;

export class Patience {
  private heardMs = performance.now();

  /** The answer; null: the monitor is away. @throws Failed when it has been away for too long, and any other failure */
  async answerTo<T>(question: Promise<T>): Promise<T | null> {
    try {
      const answer = await question;
      this.heardMs = performance.now();
      return answer;
    } catch (error) {
      const isAway = error instanceof Failed && error.code === EXIT.unreachable;
      if (!isAway || performance.now() - this.heardMs > AWAY_MS) throw error;
      return null;
    }
  }
}
