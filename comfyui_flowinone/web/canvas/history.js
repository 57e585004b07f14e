/** Undo and redo. States are immutable and share their unchanged parts, so keeping them is cheap. */

const MAX_STATES = 200;

export class History {
  constructor(state) {
    this.past = [];
    this.state = state;
    this.future = [];
  }

  /** Make `state` the current one. Consecutive steps of the same `group` are one undo step. */
  push(state, group = null) {
    if (state === this.state) return;
    if (group === null || group !== this.group) {
      this.past.push(this.state);
      if (this.past.length > MAX_STATES) this.past.shift();
    }
    this.group = group;
    this.state = state;
    this.future = [];
  }

  /** End the current group, so that the next step is an undo step of its own. */
  settle() {
    this.group = null;
  }

  undo() {
    if (!this.past.length) return false;
    this.future.push(this.state);
    this.state = this.past.pop();
    this.group = null;
    return true;
  }

  redo() {
    if (!this.future.length) return false;
    this.past.push(this.state);
    this.state = this.future.pop();
    this.group = null;
    return true;
  }

  /** Go to the nearest state for which `is(state)`, past before future. Returns whether there is one. */
  seek(is) {
    if (is(this.state)) return true;
    const [back, forth] = [this.past.findLastIndex(is), this.future.findLastIndex(is)];
    const steps = back >= 0 ? this.past.length - back : this.future.length - forth;
    if (back < 0 && forth < 0) return false;
    for (let step = 0; step < steps; step++) back >= 0 ? this.undo() : this.redo();
    return true;
  }
}
