setUpTheme();
setUpTables();
setUpStandings();
setUpDifferences();
setUpClips();
setUpRuns();
setUpBar();
setUpScroll();
